"""Lowest energies by exact diagonalisation: matrix-free Lanczos in a sector of the flip of all spins.

H commutes with flipping all spins, and by Perron–Frobenius its ground state is even. A sector's basis
has the last spin up, so 2^(N−1) amplitudes are enough: 5 × 5 needs 24 bits, 134 MB a vector.
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
        "hamiltonian": hamiltonian.kind,
        "hamiltonian_parameters": hamiltonian.parameters_json,
        "side": hamiltonian.side,
        "boundary": hamiltonian.boundary,
        "field": hamiltonian.field,
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
    """Lowest energy, its residual norm and the state (2^sites,) > 0, over all configurations.

    With a conserved Σσz it is the lowest of the sector Σσz = 0, in which the chains stay.

    Raises:
        ValueError: more sites than a full sum can hold.
    """
    form, sites = flip_form(hamiltonian), hamiltonian.sites
    apply, whole = full_summation.product(form, sites), np.zeros(1 << sites)
    inside = np.ones(len(whole), bool)
    if conserves_magnetization(form, sites):
        inside = full_summation.all_spins(sites).sum(0) == 0

    def apply_inside(part):
        # On the sector's own basis: a start in the sector does not stay there, since ARPACK goes on from a
        # random vector once the start's Krylov space is exhausted.
        whole[inside] = part.ravel()
        return apply(whole)[inside]

    size = int(inside.sum())
    # Positive, so that it overlaps the ground state; not uniform, since H may send that vector to 0.
    start = 1 + np.random.default_rng(0).random(size)
    operator = LinearOperator((size, size), matvec=apply_inside, dtype=float)
    energies, vectors = eigsh(operator, k=1, which="SA", v0=start, ncv=min(20, size), tol=1e-12)
    energy, vector = float(energies[0]), np.zeros(len(whole))
    vector[inside] = np.abs(vectors[:, 0])
    return energy, float(np.linalg.norm(apply(vector) - energy * vector)), vector


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
