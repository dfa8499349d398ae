"""Lowest energies by exact diagonalisation, matrix-free.

The Ising model's H commutes with flipping all spins, and by Perron–Frobenius its ground state is even: Lanczos in
a sector of that flip. A sector's basis has the last spin up, so 2^(N−1) amplitudes are enough: 5 × 5 needs 24 bits,
134 MB a vector. Other Hamiltonians are taken in the whole space, to 20 spins. Where levels are degenerate,
`lowest_levels` finds every member.
"""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator, eigsh

from nqs import full_summation
from nqs.config import (
    EXACT_DIAGONALIZATION_SITES,
    WHOLE_SPACE_SITES,
    Hamiltonian,
    Parity,
    ToricCode,
    TransverseFieldIsing,
    reference_method,
)
from nqs.hamiltonians import FlipForm, conserves_magnetization, flip_form

# Spins whose flips are applied together, as one product with a 2^6 × 2^6 matrix.
_GROUP = 6
# Lanczos stops at a residual of this times the energy, or where rounding stops it.
_RELATIVE_RESIDUAL = 1e-11
_MOST_ITERATIONS = 400
# Levels closer than this part of 1 + |E| are one; converged ones differ by 1e-13.
_SAME_LEVEL = 1e-10
# A part of the configurations that has less of the ground state's norm has a higher energy; one configuration of
# 2^18 has 4e-6 of a uniform state.
_LEAST_WEIGHT = 1e-12


class LowestState(NamedTuple):
    """The lowest state of a parity sector.

    Attributes:
        energy: total, units of J.
        residual: norm |H v − E v|, a bound on the energy's error.
        magnetization_x: ⟨Σ σx⟩ / N.
        magnetization_z_squared: ⟨(Σ σz / N)²⟩.
    """

    energy: float
    residual: float
    magnetization_x: float | None = None
    magnetization_z_squared: float | None = None


def reference_energy(hamiltonian: Hamiltonian, parity: Parity = "even") -> dict:
    """The row of the table `references` for a Hamiltonian.

    The energy's error is the residual norm |H v − E v|, a rigorous bound; the toric code's energy is exact.

    Raises:
        ValueError: more sites than exact diagonalisation reaches.
    """
    started = time.perf_counter()
    method, most_sites = reference_method(hamiltonian)
    if hamiltonian.sites > most_sites:
        raise ValueError(
            f"exact diagonalisation of {hamiltonian.sites} sites; at most {most_sites} are possible"
        )
    if isinstance(hamiltonian, ToricCode):
        lowest, how = LowestState(-2.0 * hamiltonian.side**2, 0.0), "all stars and plaquettes are +1"
    elif isinstance(hamiltonian, TransverseFieldIsing):
        lowest = lowest_state(flip_form(hamiltonian), hamiltonian.sites, parity)
        how = f"Lanczos in the flip-{parity} sector"
    else:
        lowest, how = LowestState(*ground_state(hamiltonian)[:2]), "Lanczos in the whole space"
    seconds = time.perf_counter() - started
    return {
        **hamiltonian.columns,
        "parity": parity,
        "energy": lowest.energy,
        "energy_error": lowest.residual,
        "method": method,
        "bond_dimension": None,
        "truncation_error": None,
        "magnetization_x": lowest.magnetization_x,
        "magnetization_z_squared": lowest.magnetization_z_squared,
        "seconds": seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "provenance": f"{how}, scipy {scipy.__version__}, Python {platform.python_version()}, {seconds:.1f} s",
    }


@lru_cache(maxsize=4)
def ground_state(hamiltonian: Hamiltonian) -> tuple[float, float, np.ndarray]:
    """Lowest energy, its residual norm and a state (2^sites,) ≥ 0 of it, over all configurations.

    With a conserved Σσz it is the lowest of the sector Σσz = 0, in which the chains stay. Where the level is
    degenerate the energy is right all the same, and the state is the projection of the uniform one to the level:
    by Perron–Frobenius every part of the configurations that the flips connect has one lowest state, and it is
    positive, so the uniform start has overlap with each. The Krylov space must stay that start's: ARPACK fills it
    with random vectors where it is small, and then gave the toric code any mixture of its ground states.

    Raises:
        ValueError: more sites than the whole space can have.
    """
    form, sites = flip_form(hamiltonian), hamiltonian.sites
    _check_whole_space(sites)
    start = np.ones(1 << sites)
    if conserves_magnetization(form, sites):
        start[2 * full_summation.down_spins(sites).astype(int) != sites] = 0
    apply = full_summation.product(form, sites)
    energy, _, ritz = _lowest_by_lanczos(apply, start)
    vector = np.abs(_ritz_vector(apply, start, ritz))
    return energy, float(np.linalg.norm(apply(vector) - energy * vector)), vector


def _check_whole_space(sites: int) -> None:
    if sites > WHOLE_SPACE_SITES:
        raise ValueError(
            f"exact diagonalisation of {sites} sites in the whole space; at most {WHOLE_SPACE_SITES} are possible"
        )


def ground_state_weight(hamiltonian: Hamiltonian, psi: np.ndarray) -> float:
    """Σ |⟨g|ψ⟩|² over all ground states g, of a normalised ψ (2^N,): the norm of its projection.

    The ground states that `ground_state` is a sum of live on disjoint sets of configurations, so one vector has
    them all; its overlap alone would give a network in one of the toric code's four sectors a weight of 1/4.
    """
    _, _, ground = ground_state(hamiltonian)
    part = _connected_parts(flip_form(hamiltonian), hamiltonian.sites)
    norms = np.bincount(part, ground**2)
    overlaps = np.bincount(part, ground * psi)
    # Where a part's lowest energy is higher, what is left of the start is a rounding error.
    there = norms > _LEAST_WEIGHT
    return float(np.sum(overlaps[there] ** 2 / norms[there]))


def _connected_parts(form: FlipForm, sites: int) -> np.ndarray:
    """(2^sites,) a label, below 2^sites, that configurations which the flips connect have in common.

    The smallest of them: bits are cleared by Gaussian elimination of the flips over GF(2). A coefficient that
    vanishes at some spins counts as a flip, so that parts may be joined that a conserved quantity separates.
    """
    labels = np.arange(1 << sites)
    pivots: list[int] = []
    for flipped in form.flip_sites:
        mask = sum(1 << int(site) for site in flipped if site < sites)
        for pivot in pivots:
            mask = min(mask, mask ^ pivot)
        if mask:
            pivots.append(mask)
    for pivot in sorted(pivots, reverse=True):
        labels = np.minimum(labels, labels ^ pivot)
    return labels


class Levels(NamedTuple):
    """The lowest eigenstates, degenerate ones with all their members.

    Attributes:
        energies: (count,) ascending, units of J.
        residuals: (count,) norms |H v − E v|, bounds on the energies' errors.
        vectors: (count, 2^sites), orthonormal.
    """

    energies: np.ndarray
    residuals: np.ndarray
    vectors: np.ndarray

    @property
    def degeneracy(self) -> int:
        """How many of them have the lowest energy; at least so many states have, if all do."""
        return int(np.sum(self.energies - self.energies[0] <= _SAME_LEVEL * (1 + abs(self.energies[0]))))


def lowest_levels(hamiltonian: Hamiltonian, count: int) -> Levels:
    """The lowest eigenstates over all configurations, one after the other, each with the ones before deflated.

    A Krylov space of one start has a single vector of each level, whatever its degeneracy: plain Lanczos finds
    further members only through rounding, and then some. Here those that are found are shifted to the top of the
    spectrum, and a new random start has overlap with what remains. Memory: `count` vectors and twenty more,
    0.2 GB at 20 spins.

    Raises:
        ValueError: more sites than the whole space can have, or more levels than configurations.
    """
    form, sites = flip_form(hamiltonian), hamiltonian.sites
    _check_whole_space(sites)
    if not 1 <= count <= 1 << sites:
        raise ValueError(f"{count} levels of {sites} spins; 1 to {1 << sites} are possible")
    apply, top = full_summation.product(form, sites), _spectral_bound(form)
    generator = np.random.default_rng(0)  # any start does; this one makes the result repeatable
    found = np.zeros((0, 1 << sites))
    for _ in range(count):

        def deflated(vector, found=found):
            overlaps = found @ vector
            inside = overlaps @ found
            # H on what is orthogonal to the found ones, `top` on them.
            return _without(apply(vector - inside), found) + top * inside

        operator = LinearOperator((1 << sites,) * 2, matvec=deflated, dtype=float)
        start = _without(generator.normal(size=1 << sites), found)
        _, vectors = eigsh(operator, k=1, which="SA", v0=start, ncv=min(20, 1 << sites), tol=1e-12)
        vector = _without(vectors[:, 0], found)
        found = np.vstack([found, vector / np.linalg.norm(vector)])
    products = np.stack([apply(vector) for vector in found])
    energies, turn = np.linalg.eigh(found @ products.T)
    vectors, products = turn.T @ found, turn.T @ products
    residuals = np.linalg.norm(products - energies[:, None] * vectors, axis=1)
    return Levels(energies, residuals, vectors)


def _without(vector: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The part of a vector that is orthogonal to orthonormal ones."""
    return vector - (found @ vector) @ found


def _spectral_bound(form: FlipForm) -> float:
    """Above every eigenvalue: the sum of all coefficients' magnitudes, and 1."""
    coefficients = (form.diagonal_coefficients, form.flip_coefficients, form.sign_coefficients)
    return 1.0 + float(sum(np.abs(part).sum() for part in coefficients))


def ground_state_energy(form: FlipForm, sites: int, parity: Parity = "even") -> tuple[float, float]:
    """Lowest energy in a sector of the flip of all spins and the residual norm, units of J.

    Args:
        form: every diagonal term a product of an even number of spins, every flip a single spin, of
            constant coefficient.

    Raises:
        ValueError: too many sites, or a term that the sector cannot hold.
    """
    apply, start, _ = _sector(form, sites, parity)
    energy, residual, _ = _lowest_by_lanczos(apply, start)
    return energy, residual


def lowest_state(form: FlipForm, sites: int, parity: Parity = "even") -> LowestState:
    """The lowest state of a sector; arguments and errors as of `ground_state_energy`.

    A second pass of the recurrence adds up the vector, in place of keeping all of them.
    """
    apply, start, flips = _sector(form, sites, parity)
    energy, residual, ritz = _lowest_by_lanczos(apply, start)
    vector = _ritz_vector(apply, start, ritz)
    magnetization = _magnetization(sites)
    return LowestState(
        energy,
        residual,
        _dot(vector, flips(np.ones(sites), vector)) / sites,
        _dot(vector, (magnetization / sites) ** 2 * vector),
    )


def _sector(form: FlipForm, sites: int, parity: Parity) -> tuple[Callable, np.ndarray, Callable]:
    """H on vectors of a sector, a start that overlaps its lowest state, and Σ_i c_i X_i there."""
    if sites > EXACT_DIAGONALIZATION_SITES:
        raise ValueError(
            f"exact diagonalisation of {sites} sites; at most {EXACT_DIAGONALIZATION_SITES} are possible"
        )
    diagonal = _sector_diagonal(form, sites)
    coefficients = _single_flip_coefficients(form, sites)
    sign = 1 if parity == "even" else -1

    def flips(coefficients, vector):
        return _apply_flips(coefficients, vector, sign)

    def apply(vector):
        return diagonal * vector.ravel() + flips(coefficients, vector.ravel())

    # A positive start has overlap with the positive ground state; the lowest odd state has the
    # magnetisation's sign.
    start = np.exp(-diagonal / np.abs(diagonal).max())
    return apply, start if parity == "even" else start * _magnetization(sites), flips


def _magnetization(sites: int) -> np.ndarray:
    """Σ_i s_i of the sector's configurations, the last spin up."""
    configurations = np.arange(1 << (sites - 1), dtype=np.int32)
    return sites - 2.0 * sum((configurations >> site) & 1 for site in range(sites - 1))


def _lowest_by_lanczos(apply, vector: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Lowest eigenvalue, its residual norm and its Ritz vector's entries (Paige 1972).

    By the three-term recurrence. Only two vectors are kept, where a restarted library solver keeps eight
    and takes four times as long at 5 × 5. Without reorthogonalisation copies of converged eigenvalues appear;
    the lowest one and its residual β_k |last entry of its Ritz vector| stay right.
    """
    alphas, betas = [], []
    for _, alpha, beta in _recurrence(apply, vector):
        alphas.append(alpha)
        energies, ritz = eigh_tridiagonal(np.array(alphas), np.array(betas), select="i", select_range=(0, 0))
        residual = beta * abs(float(ritz[-1, 0]))
        if residual <= _RELATIVE_RESIDUAL * abs(energies[0]):
            break
        betas.append(beta)
    # The recurrence cannot know the energy better than its rounding.
    residual = max(residual, float(np.finfo(float).eps * abs(energies[0])))
    return float(energies[0]), residual, ritz[:, 0]


def _recurrence(apply, vector: np.ndarray) -> Iterator[tuple[np.ndarray, float, float]]:
    """The Lanczos vectors v_k with α_k and β_k, at most _MOST_ITERATIONS of them."""
    vector = vector / _dot(vector, vector) ** 0.5
    before, beta = np.zeros_like(vector), 0.0
    for _ in range(min(_MOST_ITERATIONS, len(vector))):
        product = apply(vector) - beta * before
        alpha = _dot(vector, product)
        product -= alpha * vector
        beta = _dot(product, product) ** 0.5
        yield vector, alpha, beta
        before, vector = vector, product / beta


def _ritz_vector(apply, start: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Σ_k y_k v_k of norm 1, the Lanczos vectors made anew in the same order."""
    result = np.zeros_like(start)
    for entry, (vector, _, _) in zip(entries, _recurrence(apply, start), strict=False):
        result += entry * vector
    return result / _dot(result, result) ** 0.5


def _dot(left: np.ndarray, right: np.ndarray) -> float:
    # One long BLAS dot of 2^24 positive terms loses four digits (1e-12 relative, seen at 5 × 5);
    # short dots summed pairwise do not.
    length = min(len(left), 1 << 12)
    parts = np.matmul(left.reshape(-1, 1, length), right.reshape(-1, length, 1))
    return float(parts.sum())


def _sector_diagonal(form: FlipForm, sites: int) -> np.ndarray:
    configurations = np.arange(1 << (sites - 1), dtype=np.int32)
    diagonal = np.zeros(len(configurations))
    for coefficient, chosen in zip(form.diagonal_coefficients, form.diagonal_sites, strict=True):
        chosen = [int(site) for site in chosen if site < sites]
        if len(chosen) % 2:
            raise ValueError(f"the diagonal term on spins {chosen} breaks the flip of all spins")
        # The last spin is up in this basis and its bit 0.
        parity = np.zeros_like(configurations)
        for site in chosen:
            parity ^= configurations >> site
        diagonal += coefficient * (1 - 2 * (parity & 1))
    return diagonal


def _single_flip_coefficients(form: FlipForm, sites: int) -> np.ndarray:
    if np.any(form.sign_coefficients):
        raise ValueError(
            "flips whose coefficients depend on spins; exact diagonalisation takes constant ones"
        )
    coefficients = np.zeros(sites)
    for coefficient, flipped in zip(form.flip_coefficients, form.flip_sites, strict=True):
        flipped = [int(site) for site in flipped if site < sites]
        if len(flipped) != 1:
            raise ValueError(f"the flip of spins {flipped}; exact diagonalisation takes single flips only")
        coefficients[flipped[0]] += coefficient
    return coefficients


def _apply_flips(coefficients: np.ndarray, vector: np.ndarray, sign: int) -> np.ndarray:
    """Σ_i c_i X_i in a sector: flipping the last spin is flipping all the others, the reversed vector.

    Args:
        sign: of the sector, +1 even, −1 odd.
    """
    result = sign * coefficients[-1] * vector[::-1]
    bits = len(coefficients) - 1
    for low in range(0, bits, _GROUP):
        group = coefficients[low : min(low + _GROUP, bits)]
        columns = np.arange(1 << len(group))
        flips = np.zeros((len(columns),) * 2)
        for bit, coefficient in enumerate(group):
            flips[columns, columns ^ (1 << bit)] = coefficient
        if low == 0:
            # The lowest bits are the last axis: one large product instead of many thin ones.
            result += (vector.reshape(-1, len(columns)) @ flips).ravel()
        else:
            result += (flips @ vector.reshape(-1, len(columns), 1 << low)).ravel()
    return result
