"""Exact sums over all 2^N configurations: what is recorded on small lattices, and the oracle of sampling.

Configuration x has spin s_i = +1 where bit i of x is 0. Vectors are float64 over x = 0 … 2^N − 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nqs.config import FULL_SUMMATION_SITES
from nqs.hamiltonians import FlipForm
from nqs.statistics import Estimate

# Configurations handled at a time: bounds the memory of θ to about this × hidden units.
_CHUNK = 1 << 14


class ExactState(NamedTuple):
    """Exact expectation values of a normalised state.

    Attributes:
        energy: total, units of J.
        variance: ⟨H²⟩ − ⟨H⟩², total.
        magnetization_x, magnetization_z, abs_magnetization_z, magnetization_z_squared: per spin.
    """

    energy: float
    variance: float
    magnetization_x: float
    magnetization_z: float
    abs_magnetization_z: float
    magnetization_z_squared: float


def all_spins(sites: int) -> np.ndarray:
    """(sites, 2^sites) float64 ±1, column x the configuration x.

    Raises:
        ValueError: more sites than a full sum can hold.
    """
    if sites > FULL_SUMMATION_SITES:
        raise ValueError(f"full summation of {sites} sites; at most {FULL_SUMMATION_SITES} are possible")
    bits = (np.arange(1 << sites)[None, :] >> np.arange(sites)[:, None]) & 1
    return 1.0 - 2.0 * bits


def wave_function(weights: np.ndarray) -> np.ndarray:
    """Normalised ψ over all configurations, (2^sites,), of a relu network (sites, hidden)."""
    spins = all_spins(len(weights))
    log_psi = np.concatenate(
        [
            np.maximum(weights.T @ spins[:, start : start + _CHUNK], 0).sum(0)
            for start in range(0, spins.shape[1], _CHUNK)
        ]
    )
    return normalised(log_psi)


def normalised(log_psi: np.ndarray) -> np.ndarray:
    """ψ of norm 1 from log ψ over all configurations, (2^sites,)."""
    psi = np.exp(log_psi - log_psi.max())
    return psi / np.linalg.norm(psi)


def product(form: FlipForm, sites: int) -> Callable[[np.ndarray], np.ndarray]:
    """ψ → H ψ for vectors (2^sites,); what does not depend on ψ is made once.

    Of coefficients that depend on spins the signs are kept, a byte a configuration: 20 spins on a ring of the
    XXZ model take 20 MB in place of 160.
    """
    configurations = np.arange(1 << sites)

    def sign(chosen: np.ndarray) -> np.ndarray:
        odd = np.bitwise_count(configurations & _mask(chosen, sites)).astype(np.int8) & 1
        return 1 - 2 * odd

    diagonal = np.zeros(len(configurations))
    for coefficient, chosen in zip(form.diagonal_coefficients, form.diagonal_sites, strict=True):
        diagonal += coefficient * sign(chosen)
    flips = zip(form.flip_coefficients, form.flip_sites, form.sign_coefficients, form.sign_sites, strict=True)
    terms = [
        (
            constant,
            [(b, sign(chosen)) for b, chosen in zip(coefficients, signed, strict=True)],
            _mask(flipped, sites),
        )
        for constant, flipped, coefficients, signed in flips
    ]

    def apply(psi: np.ndarray) -> np.ndarray:
        result = diagonal * psi
        for constant, signs, mask in terms:
            coefficient = constant + sum(b * sign for b, sign in signs)
            result += coefficient * psi[configurations ^ mask]
        return result

    return apply


def down_spins(sites: int) -> np.ndarray:
    """(2^sites,) uint8, the spins −1 of every configuration."""
    return np.bitwise_count(np.arange(1 << sites))


def _mask(chosen: np.ndarray, sites: int) -> int:
    """The bits of a padded list of sites."""
    return sum(1 << int(site) for site in chosen if site < sites)


def apply(form: FlipForm, psi: np.ndarray) -> np.ndarray:
    """H ψ for a vector (2^sites,)."""
    return product(form, len(psi).bit_length() - 1)(psi)


def expectations(form: FlipForm, single_flips: FlipForm, psi: np.ndarray) -> ExactState:
    """Exact values of a normalised ψ; `single_flips` is the flip form of Σ σx."""
    sites = len(psi).bit_length() - 1
    h_psi = apply(form, psi)
    energy = float(psi @ h_psi)
    # |(H − E) ψ|² keeps its digits where ⟨H²⟩ − ⟨H⟩² would cancel.
    residual = h_psi - energy * psi
    probability = psi**2
    z = all_spins(sites).sum(0) / sites
    return ExactState(
        energy,
        float(residual @ residual),
        float(psi @ apply(single_flips, psi)) / sites,
        float(probability @ z),
        float(probability @ np.abs(z)),
        float(probability @ z**2),
    )


def mean_products(psi: np.ndarray, products) -> list[Estimate]:
    """Exact means of products of spins of a normalised ψ, with errors 0.

    Args:
        products: gives their sums, and has the `counts` of what it sums; such as `nqs.correlations.Correlations`.
    """
    sums = products(all_spins(len(psi).bit_length() - 1))
    return [
        Estimate(float(psi**2 @ total) / count, 0.0)
        for total, count in zip(sums, products.counts, strict=True)
    ]


def log_fidelity(psi: np.ndarray, other: np.ndarray) -> float:
    """ln |⟨other|ψ⟩|² of normalised vectors."""
    return float(2 * np.log(np.abs(psi @ other)))
