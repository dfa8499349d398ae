"""Measuring a trained network on its chains: energies, magnetisations, fidelity to another network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nqs.engine import Layout, flip_ratios, log_psi, swept
from nqs.hamiltonians import FlipForm, constant_form, padded_sets, padded_signs, unpadded_sets
from nqs.local_energies import diagonal_energies, flipped_energies
from nqs.moves import Moves
from nqs.statistics import Estimate, estimate

# From spins (sites, configurations) to sums of products of some of them, each (configurations,): data that
# hashes by value, such as `nqs.correlations.Correlations`, since it is part of a program.
SpinProducts = Callable[[Array], tuple[Array, ...]]


class Records(NamedTuple):
    """What was recorded after each sweep of each chain, all (sweeps, chains) float64.

    Attributes:
        local_energies: total, units of J.
        diagonal_energies: the part of them that flips nothing.
        flip_ratios: Σ_i ψ(X_i s)/ψ(s), the local value of Σ σx.
        magnetizations: Σ_i s_i.
        log_ratios: log ψ_other(s) − log ψ(s).
        acceptance: (sweeps,) accepted fraction of proposals.
        products: what the lattice's `SpinProducts` give, one after the other; empty where there are none.
    """

    local_energies: Array
    diagonal_energies: Array
    flip_ratios: Array
    magnetizations: Array
    log_ratios: Array
    acceptance: Array
    products: tuple[Array, ...] = ()


@partial(jax.jit, static_argnames=("sweeps", "products"))
def record(
    key: Array,
    form: FlipForm,
    moves: Moves,
    spins: Array,
    weights: Array,
    layout: Layout,
    other: Array,
    other_layout: Layout,
    sweeps: int,
    products: SpinProducts | None = None,
) -> tuple[Array, Records]:
    """Sweep the chains and record after each sweep.

    Args:
        form: the Hamiltonian with the transverse magnetisation, from `measured_form`.
        moves: of a sweep.
        spins: (sites, chains) ±1, in equilibrium with the weights.
        weights: float64, of the network that is sampled, as its layout has them.
        other, other_layout: the network it is compared with.
        products: what else is recorded of the spins.

    Returns:
        The chains' last spins, and the records. The sweeps run in float32, what is recorded in float64.
    """

    def entry(spins: Array, accepted: Array) -> Records:
        own, ratios = flip_ratios(form, weights, layout, spins)
        flipped, all_flips = flipped_energies(form, spins, ratios)
        diagonal = diagonal_energies(form, spins)
        log_ratios = log_psi(other, other_layout, spins) - own
        sums = products(spins) if products else ()
        return Records(diagonal + flipped, diagonal, all_flips, spins.sum(0), log_ratios, accepted, sums)

    return _recorded_sweeps(key, moves, spins, weights, layout, sweeps, entry)


@partial(jax.jit, static_argnames="sweeps")
def record_log_ratios(
    key: Array,
    moves: Moves,
    spins: Array,
    weights: Array,
    layout: Layout,
    other: Array,
    other_layout: Layout,
    sweeps: int,
) -> Array:
    """log ψ_other(s) − log ψ(s) after each sweep, (sweeps, chains); arguments as of `record`."""

    def entry(spins: Array, _: Array) -> Array:
        return log_psi(other, other_layout, spins) - log_psi(weights, layout, spins)

    return _recorded_sweeps(key, moves, spins, weights, layout, sweeps, entry)[1]


def _recorded_sweeps(key, moves, spins, weights, layout, sweeps, entry):
    def one(spins, index):
        spins, accepted = swept(jax.random.fold_in(key, index), moves, spins, weights, layout)
        return spins, entry(spins.astype(jnp.float64), accepted)

    return jax.lax.scan(one, spins.astype(jnp.float32), jnp.arange(sweeps))


def measured_form(form: FlipForm, sites: int) -> FlipForm:
    """The Hamiltonian's flips and those of Σ_i σx_i as one list, with a row of coefficients for each.

    Flips that both have are listed once: their ratios are computed once.
    """
    own = unpadded_sets(form.flip_sites, sites)
    flips = sorted({*own, *((site,) for site in range(sites))})
    coefficients, signs = np.zeros((2, len(flips))), [[] for _ in flips]
    coefficients[1] = [len(flipped) == 1 for flipped in flips]
    own_signs = zip(np.asarray(form.sign_coefficients), np.asarray(form.sign_sites), strict=True)
    for flipped, constant, (terms, chosen) in zip(
        own, np.asarray(form.flip_coefficients), own_signs, strict=True
    ):
        index = flips.index(flipped)
        coefficients[0, index] += constant
        signs[index] += zip(unpadded_sets(chosen, sites), terms, strict=True)
    sign_coefficients, sign_sites = padded_signs(signs, sites)
    return form._replace(
        flip_coefficients=coefficients,
        flip_sites=padded_sets(flips, sites),
        # Σ σx has constant coefficients.
        sign_coefficients=np.stack([sign_coefficients, np.zeros_like(sign_coefficients)]),
        sign_sites=sign_sites,
    )


def transverse_magnetization(sites: int) -> FlipForm:
    """Σ_i σx_i as a flip form; its coefficients are +1, since it is measured and not minimised."""
    return constant_form(
        np.zeros(0), np.zeros((0, 1), np.int32), np.ones(sites), np.arange(sites, dtype=np.int32)[:, None]
    )


class Magnetizations(NamedTuple):
    """Per spin: ⟨σx⟩, ⟨σz⟩, ⟨|Σσz|⟩/N and ⟨(Σσz/N)²⟩."""

    x: Estimate
    z: Estimate
    abs_z: Estimate
    z_squared: Estimate


def sampled_magnetizations(records: Records, sites: int, conserved: bool = False) -> Magnetizations:
    """Magnetisations per spin from the records.

    Args:
        conserved: the state is the network within Σσz = 0 and 0 elsewhere; each σx leaves that sector, so
            ⟨σx⟩ = 0, while the recorded ratios have the network's values outside of it.
    """
    x = Estimate(0.0, 0.0) if conserved else estimate(np.asarray(records.flip_ratios) / sites)
    z = np.asarray(records.magnetizations) / sites
    return Magnetizations(x, estimate(z), estimate(np.abs(z)), estimate(z**2))


def sampled_products(records: Records, counts: Sequence[int]) -> list[Estimate]:
    """Means of the recorded products of spins, from their sums over so many of them."""
    return [
        estimate(np.asarray(total) / count) for total, count in zip(records.products, counts, strict=True)
    ]


def sampled_log_fidelity(own: np.ndarray, others: np.ndarray) -> Estimate:
    """ln F of two normalised states, F = E_a[ψ_b/ψ_a] · E_b[ψ_a/ψ_b], with its standard error.

    The norms cancel in the product. Errors come from the spread of the chain means of the two
    independent factors, by propagation to the logarithm.

    Args:
        own: (sweeps, chains) log ψ_b − log ψ_a on samples of a.
        others: (sweeps, chains) log ψ_a − log ψ_b on samples of b.
    """
    total, variance = 0.0, 0.0
    for log_ratios in (np.asarray(own), np.asarray(others)):
        # The largest ratio is taken out before the exponential: it may not fit a float64.
        largest = log_ratios.max()
        mean, error = estimate(np.exp(log_ratios - largest))
        total += largest + np.log(mean)
        variance += (error / mean) ** 2
    return Estimate(float(total), float(np.sqrt(variance)))
