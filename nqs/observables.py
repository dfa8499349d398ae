"""Measuring a trained network on its chains: energies, magnetisations, fidelity to another network."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nqs.hamiltonians import FlipForm, diagonal_energies
from nqs.layouts import RowLayout
from nqs.local_energies import flipped_energies
from nqs.sampling import Chains, amplitude, draw_proposals, sweep
from nqs.statistics import Estimate, estimate


class Records(NamedTuple):
    """What was recorded after each sweep of each chain, all (sweeps, chains) float64.

    Attributes:
        local_energies: total, units of J.
        flip_ratios: Σ_i ψ(X_i s)/ψ(s), the local value of Σ σx.
        magnetizations: Σ_i s_i.
        log_ratios: log ψ_other(s) − log ψ(s).
        acceptance: (sweeps,) accepted fraction of single-flip proposals.
    """

    local_energies: Array
    flip_ratios: Array
    magnetizations: Array
    log_ratios: Array
    acceptance: Array


@partial(jax.jit, static_argnames="sweeps")
def record(
    key: Array,
    form: FlipForm,
    spins: Array,
    weights: Array,
    layout: RowLayout,
    other: Array,
    sweeps: int,
) -> tuple[Array, Records]:
    """Sweep the chains and record after each sweep.

    Args:
        form: the Hamiltonian with the transverse magnetisation, from `measured_form`.
        spins: (sites, chains) ±1, in equilibrium with the weights.
        weights: (sites, hidden) float64, the network that is sampled.
        layout: of these weights.
        other: (sites, hidden) float64, the network it is compared with.

    Returns:
        The chains' last spins, and the records. The sweeps run in float32, what is recorded in float64.
    """

    def entry(spins: Array, accepted: Array) -> Records:
        chains, log_ratios, _ = sweep(None, spins, weights, layout, form.flip_sites)
        flipped, flip_ratios = flipped_energies(form.flip_coefficients, log_ratios)
        energies = diagonal_energies(form, spins) + flipped
        return Records(energies, flip_ratios, spins.sum(0), _log_ratios(chains, other), accepted)

    return _recorded_sweeps(key, spins, weights, layout, sweeps, entry)


@partial(jax.jit, static_argnames="sweeps")
def record_log_ratios(
    key: Array, spins: Array, weights: Array, layout: RowLayout, other: Array, sweeps: int
) -> Array:
    """log ψ_other(s) − log ψ(s) after each sweep, (sweeps, chains); arguments as of `record`."""

    def entry(spins: Array, _: Array) -> Array:
        return _log_ratios(Chains(spins, weights.T @ spins), other)

    return _recorded_sweeps(key, spins, weights, layout, sweeps, entry)[1]


def _recorded_sweeps(key, spins, weights, layout, sweeps, entry):
    rows = weights.astype(jnp.float32)

    def one(spins, index):
        proposals = draw_proposals(jax.random.fold_in(key, index), *spins.shape, jnp.float32)
        swept = sweep(proposals, spins, rows, layout)
        return swept.chains.spins, entry(swept.chains.spins.astype(jnp.float64), swept.accepted)

    return jax.lax.scan(one, spins.astype(jnp.float32), jnp.arange(sweeps))


def _log_ratios(chains: Chains, other: Array) -> Array:
    return amplitude(other.T @ chains.spins) - amplitude(chains.theta)


def measured_form(form: FlipForm, sites: int) -> FlipForm:
    """The Hamiltonian's flips and those of Σ_i σx_i as one list, with a row of coefficients for each.

    Flips that both have are listed once: their ratios are computed once.
    """
    own = [
        tuple(site for site in flipped if site < sites) for flipped in np.asarray(form.flip_sites).tolist()
    ]
    flips = sorted({*own, *((site,) for site in range(sites))})
    padded = np.full((len(flips), max(map(len, flips))), sites, np.int32)
    coefficients = np.zeros((2, len(flips)))
    for index, flipped in enumerate(flips):
        padded[index, : len(flipped)] = flipped
        coefficients[1, index] = len(flipped) == 1
    for coefficient, flipped in zip(np.asarray(form.flip_coefficients), own, strict=True):
        coefficients[0, flips.index(flipped)] += coefficient
    return form._replace(flip_coefficients=coefficients, flip_sites=padded)


def transverse_magnetization(sites: int) -> FlipForm:
    """Σ_i σx_i as a flip form; its coefficients are +1, since it is measured and not minimised."""
    return FlipForm(
        np.zeros(0), np.zeros((0, 1), np.int32), np.ones(sites), np.arange(sites, dtype=np.int32)[:, None]
    )


class Magnetizations(NamedTuple):
    """Per spin: ⟨σx⟩, ⟨σz⟩, ⟨|Σσz|⟩/N and ⟨(Σσz/N)²⟩."""

    x: Estimate
    z: Estimate
    abs_z: Estimate
    z_squared: Estimate


def sampled_magnetizations(records: Records, sites: int) -> Magnetizations:
    """Magnetisations per spin from the records."""
    z = np.asarray(records.magnetizations) / sites
    return Magnetizations(
        estimate(np.asarray(records.flip_ratios) / sites), estimate(z), estimate(np.abs(z)), estimate(z**2)
    )


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
