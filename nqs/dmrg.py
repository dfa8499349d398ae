"""Ground-state energies by DMRG: matrix product states of a series of bond dimensions, one from the other.

physics-tenpy makes the sweeps: two sites at a time, the flip of all spins conserved. H comes from the same
flip form that exact diagonalisation takes, so it is the Hamiltonian of the runs by construction. tenpy's spins are
rotated: what is σz here is Sigmax there, and σx is Sigmaz, whose product over all sites is the parity.

Every sweep starts from the state's bytes. So where a stretch of work ends does not matter, and a resumed
series equals an undisturbed one bit for bit; making the environments afresh costs a few percent of a sweep.
"""

from __future__ import annotations

import logging
import math
import platform
import resource
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from io import BytesIO
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from nqs.config import Hamiltonian, Parity, PauliTerms, ReferenceJob
from nqs.hamiltonians import FlipForm, flip_form
from nqs.tasks import ReferenceOutcome, ReferenceTask

# A bond dimension has converged when a sweep changes the energy by less than this part of |E| times the
# discarded weight w, between the bounds. At 10 × 10 and h = 3.04438 the weight costs 80 w = 0.25 w |E|.
_CONVERGENCE_OF_WEIGHT = 3e-3
_LEAST_CONVERGENCE, _MOST_CONVERGENCE = 2e-12, 1e-6
MOST_SWEEPS = 40
LEAST_SWEEPS = 2
# Noise that a product state's first sweeps need to leave it; a factor 4 weaker every sweep.
_MIXER_AMPLITUDE, _MIXER_SWEEPS = 1e-4, 4
_LANCZOS = {"N_min": 2, "N_max": 4, "P_tol": 1e-13}
# Singular values below are rounding: their square is the weight.
_LEAST_SINGULAR_VALUE = 1e-12


class MatrixProductState(NamedTuple):
    """A right-canonical matrix product state of fixed parity, in the sites' order along a snake.

    Attributes:
        tensors: (left, 2, right) float64 of each site; right-canonical.
        singular_values: (bond,) of each bond, the trivial ones at both ends included.
        charges: (bond,) parities 0 or 1 of the states of each bond.
    """

    tensors: list[np.ndarray]
    singular_values: list[np.ndarray]
    charges: list[np.ndarray]


class SweepInfo(NamedTuple):
    """What one sweep, right and left, came to.

    Attributes:
        energy: ⟨H⟩ of the normalised state, total, units of J: variational, whatever was discarded.
        discarded_weight: summed over the bonds, mean of both directions.
    """

    energy: float
    discarded_weight: float


def site_order(hamiltonian: Hamiltonian) -> np.ndarray:
    """(sites,) the sites along the chain: a snake through the square lattice, else as they are numbered."""
    sites = np.arange(hamiltonian.sites)
    if isinstance(hamiltonian, PauliTerms):
        return sites
    lattice = sites.reshape(hamiltonian.side, hamiltonian.side)
    lattice[1::2] = lattice[1::2, ::-1].copy()
    return lattice.ravel()


def model_of(hamiltonian: Hamiltonian):
    """H as tenpy's model of a chain with long-range couplings.

    Raises:
        ValueError: a term other than σz σz and σx.
    """
    from tenpy.models.lattice import Chain
    from tenpy.models.model import CouplingModel, MPOModel

    fields, couplings = _ising_terms(flip_form(hamiltonian), hamiltonian)
    site = _spin()
    lattice = Chain(hamiltonian.sites, site, bc="open", bc_MPS="finite")
    model = CouplingModel(lattice)
    for position, coefficient in enumerate(fields):
        model.add_onsite_term(coefficient, position, "Sigmaz")
    for (left, right), coefficient in couplings.items():
        model.add_coupling_term(coefficient, left, right, "Sigmax", "Sigmax")
    hamiltonian_mpo = model.calc_H_MPO()
    hamiltonian_mpo.sort_legcharges()  # into two blocks a leg, in place of one a state
    return MPOModel(lattice, hamiltonian_mpo)


def _spin():
    from tenpy.networks.site import SpinHalfSite

    return SpinHalfSite(conserve="parity", sort_charge=True)


def _ising_terms(form: FlipForm, hamiltonian: Hamiltonian) -> tuple[np.ndarray, dict]:
    """Coefficients of σx (sites,) and of σz σz {(left, right): c}, by position along the chain."""
    sites = hamiltonian.sites
    position = np.argsort(site_order(hamiltonian))
    fields = np.zeros(sites)
    for coefficient, flipped in zip(form.flip_coefficients, form.flip_sites, strict=True):
        fields[position[_only(flipped, sites, 1, "flip")[0]]] += coefficient
    if np.any(form.sign_coefficients):
        raise ValueError("flips whose coefficients depend on spins; DMRG takes σz σz and σx")
    couplings: dict[tuple[int, int], float] = {}
    for coefficient, chosen in zip(form.diagonal_coefficients, form.diagonal_sites, strict=True):
        left, right = sorted(int(position[site]) for site in _only(chosen, sites, 2, "diagonal term"))
        couplings[left, right] = couplings.get((left, right), 0.0) + float(coefficient)
    return fields, couplings


def _only(chosen: np.ndarray, sites: int, count: int, what: str) -> list[int]:
    chosen = [int(site) for site in chosen if site < sites]
    if len(chosen) != count:
        raise ValueError(f"the {what} on spins {chosen}; DMRG takes σz σz and σx")
    return chosen


# --- states


def product_state(hamiltonian: Hamiltonian, parity: Parity) -> MatrixProductState:
    """All spins along the field, for odd parity all but the one in the middle."""
    sites = hamiltonian.sites
    along = np.array([0.0, 1.0]) if _up_is_last() else np.array([1.0, 0.0])
    flipped = sites // 2 if parity == "odd" else None
    tensors, charges = [], [np.zeros(1, int)]
    for site in range(sites):
        vector = along[::-1] if site == flipped else along
        tensors.append(vector.reshape(1, 2, 1).copy())
        charge = _physical_charges()[int(np.argmax(vector))]
        charges.append((charges[-1] + charge) % 2)
    return MatrixProductState(tensors, [np.ones(1)] * (sites + 1), charges)


def _up_is_last() -> bool:
    return _spin().state_index("up") == 1


def _physical_charges() -> np.ndarray:
    return _spin().leg.to_qflat()[:, 0]


def to_tenpy(state: MatrixProductState):
    """The state as tenpy's MPS."""
    import tenpy.linalg.np_conserved as npc
    from tenpy.networks.mps import MPS

    site = _spin()
    chain = site.leg.chinfo
    tensors = []
    for tensor, left, right in zip(state.tensors, state.charges[:-1], state.charges[1:], strict=True):
        legs = [
            npc.LegCharge.from_qflat(chain, left[:, None], 1).bunch()[1],
            site.leg,
            npc.LegCharge.from_qflat(chain, right[:, None], -1).bunch()[1],
        ]
        tensors.append(npc.Array.from_ndarray(tensor, legs, labels=["vL", "p", "vR"]))
    sites = [site] * len(tensors)
    return MPS(sites, tensors, list(state.singular_values), bc="finite", form="B")


def from_tenpy(psi) -> MatrixProductState:
    """The right-canonical tensors of tenpy's MPS, every bond's states sorted by their parity."""
    tensors = [psi.get_B(i, form="B").transpose(["vL", "p", "vR"]) for i in range(psi.L)]
    charges = [tensors[0].get_leg("vL").to_qflat()[:, 0]]
    # A leg's sign says how its charges count: vR's are those of the next vL.
    for tensor in tensors:
        leg = tensor.get_leg("vR")
        charges.append((-leg.qconj * leg.to_qflat()[:, 0]) % 2)
    values = [psi.get_SL(i) for i in range(psi.L)] + [psi.get_SR(psi.L - 1)]
    # `to_tenpy` makes a block of every run of equal parities; with two blocks a bond products are dense.
    orders = [np.argsort(charge, kind="stable") for charge in charges]
    dense = [
        tensor.to_ndarray()[left][:, :, right]
        for tensor, left, right in zip(tensors, orders[:-1], orders[1:], strict=True)
    ]
    return MatrixProductState(
        dense,
        [value[order] for value, order in zip(values, orders, strict=True)],
        [charge[order] for charge, order in zip(charges, orders, strict=True)],
    )


def to_bytes(state: MatrixProductState, **numbers: float) -> bytes:
    """A state and some numbers as an npz archive; of the tensors, the half that the parity allows."""
    arrays = {name: np.asarray(number) for name, number in numbers.items()}
    allowed = _allowed_entries(state.charges)
    arrays |= {f"tensor{i}": state.tensors[i][allowed[i]] for i in range(len(allowed))}
    arrays |= {f"singular_values{i}": values for i, values in enumerate(state.singular_values)}
    arrays |= {f"charges{i}": charges for i, charges in enumerate(state.charges)}
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def from_bytes(contents: bytes) -> tuple[MatrixProductState, dict]:
    """The state and the numbers of `to_bytes`."""
    with np.load(BytesIO(contents)) as archive:
        arrays = dict(archive)
    sites = sum(name.startswith("tensor") for name in arrays)
    charges = [arrays.pop(f"charges{i}") for i in range(sites + 1)]
    values = [arrays.pop(f"singular_values{i}") for i in range(sites + 1)]
    tensors = []
    for i, allowed in enumerate(_allowed_entries(charges)):
        tensor = np.zeros(allowed.shape)
        tensor[allowed] = arrays.pop(f"tensor{i}")
        tensors.append(tensor)
    return MatrixProductState(tensors, values, charges), {name: a.item() for name, a in arrays.items()}


def _allowed_entries(charges: list[np.ndarray]) -> list[np.ndarray]:
    """(left, 2, right) bool of each site: where the parities on the left and of the spin give that on the right."""
    spin = _physical_charges()
    return [
        (left[:, None, None] + spin[None, :, None] + right[None, None, :]) % 2 == 0
        for left, right in pairwise(charges)
    ]


# --- sweeps


def sweep(
    model, state: MatrixProductState, bond_dimension: int, mixer_amplitude: float = 0.0
) -> tuple[MatrixProductState, SweepInfo]:
    """One two-site sweep to the right and back to the left at most this bond dimension."""
    from tenpy.algorithms.dmrg import TwoSiteDMRGEngine

    options = {
        "trunc_params": {"chi_max": bond_dimension, "svd_min": _LEAST_SINGULAR_VALUE},
        "lanczos_params": dict(_LANCZOS),
        "max_sweeps": 1,
        "min_sweeps": 1,
        "N_sweeps_check": 1,
        "mixer": bool(mixer_amplitude),
        "mixer_params": {"amplitude": mixer_amplitude or None, "decay": 1.0, "disable_after": 2},
        "max_trunc_err": None,  # a small bond dimension is meant here, not an accident
    }
    if not mixer_amplitude:
        del options["mixer_params"]
    engine = TwoSiteDMRGEngine(to_tenpy(state), model, options)
    engine.run()
    psi = engine.psi
    psi.norm = 1.0
    energy = float(model.H_MPO.expectation_value(psi).real)
    return from_tenpy(psi), SweepInfo(
        energy, float(sum(error.eps for error in engine.update_stats["err"])) / 2
    )


def mixer_amplitude(sweeps: int) -> float:
    """Noise of the next sweep of a series that started from a product state, after so many sweeps."""
    return _MIXER_AMPLITUDE / 4**sweeps if sweeps < _MIXER_SWEEPS else 0.0


def magnetizations(state: MatrixProductState) -> tuple[float, float]:
    """⟨Σ σx⟩ / N and ⟨(Σ σz / N)²⟩ of a state."""
    psi = to_tenpy(state)
    x = float(np.mean(psi.expectation_value("Sigmaz")))
    return x, float(_squared_sum(psi.sites).expectation_value(psi).real) / psi.L**2


def _squared_sum(sites):
    """(Σ_i σz_i)² as a matrix product operator of bond dimension 3."""
    from tenpy.networks.mpo import MPO

    first, last = "Sigmax", "Id"
    row = [[("Id", 1.0)], [(first, 2.0)], [(last, 1.0)]]
    middle = [row, [None, [("Id", 1.0)], [(first, 1.0)]], [None, None, [("Id", 1.0)]]]
    grids = [[middle[0]], *[middle] * (len(sites) - 2), [[line[-1]] for line in middle]]
    return MPO.from_grids(sites, grids, "finite", IdL=0, IdR=-1)


# --- a series of bond dimensions


class Progress(NamedTuple):
    """Where a bond dimension stands.

    Attributes:
        state: after the last sweep.
        sweeps: done at this bond dimension.
        energy, discarded_weight: of the last sweep; infinite before the first.
        converged: the energy stands still.
        seconds: of all its sweeps.
    """

    state: MatrixProductState
    sweeps: int = 0
    energy: float = math.inf
    discarded_weight: float = math.inf
    converged: bool = False
    seconds: float = 0.0


def advance(task: ReferenceTask, seconds: float) -> ReferenceOutcome:
    """Sweep at the bond dimension of a task's level until it has converged, or this time is over."""
    job, started = task.job, time.perf_counter()
    bond_dimension = job.bond_dimension(task.level)
    progress, afresh = _resume(task)
    with _tenpy_silent():
        model = model_of(job.hamiltonian)
        while not progress.converged:
            progress = _next(model, progress, bond_dimension, afresh)
            if time.perf_counter() - started > seconds:
                break
        row = _row(job, bond_dimension, progress) if progress.converged else None
    numbers = progress._asdict() | {"level": task.level, "afresh": afresh}
    checkpoint = to_bytes(numbers.pop("state"), **numbers)
    return ReferenceOutcome(progress.sweeps, progress.energy, checkpoint=checkpoint, row=row)


@contextmanager
def _tenpy_silent() -> Iterator[None]:
    """Without what tenpy says of every sweep: a coming argument, and norms that it mends by itself."""
    logger = logging.getLogger("tenpy")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="tenpy")
            yield
    finally:
        logger.setLevel(level)


def _resume(task: ReferenceTask) -> tuple[Progress, bool]:
    """Where the level stands, and whether it started from a product state."""
    if task.checkpoint is None:
        return Progress(product_state(task.job.hamiltonian, task.job.parity)), True
    state, numbers = from_bytes(task.checkpoint)
    level, afresh = numbers.pop("level"), numbers.pop("afresh")
    # What closed the level before carries the state on, and nothing else.
    return (Progress(state, **numbers), afresh) if level == task.level else (Progress(state), False)


def _next(model, progress: Progress, bond_dimension: int, afresh: bool) -> Progress:
    """One sweep further."""
    started = time.perf_counter()
    amplitude = mixer_amplitude(progress.sweeps) if afresh else 0.0
    state, info = sweep(model, progress.state, bond_dimension, amplitude)
    sweeps = progress.sweeps + 1
    still = abs(info.energy - progress.energy) < _tolerance(info)
    return Progress(
        state,
        sweeps,
        info.energy,
        info.discarded_weight,
        converged=sweeps >= MOST_SWEEPS or (still and not amplitude and sweeps >= LEAST_SWEEPS),
        seconds=progress.seconds + time.perf_counter() - started,
    )


def _tolerance(info: SweepInfo) -> float:
    """The change of the energy in a sweep, units of J, that counts as none."""
    relative = np.clip(_CONVERGENCE_OF_WEIGHT * info.discarded_weight, _LEAST_CONVERGENCE, _MOST_CONVERGENCE)
    return float(relative * abs(info.energy))


def _row(job: ReferenceJob, bond_dimension: int, progress: Progress) -> dict:
    """The row of `references` of a bond dimension: a variational energy, so without an error."""
    x, z_squared = magnetizations(progress.state)
    return {
        **job.hamiltonian.columns,
        "parity": job.parity,
        "energy": progress.energy,
        "energy_error": None,
        "method": job.method,
        "bond_dimension": bond_dimension,
        "truncation_error": progress.discarded_weight,
        "magnetization_x": x,
        "magnetization_z_squared": z_squared,
        "seconds": progress.seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "provenance": f"two-site DMRG, {progress.sweeps} sweeps, physics-tenpy {version('physics-tenpy')}, "
        f"numpy {np.__version__}, Python {platform.python_version()}",
    }
