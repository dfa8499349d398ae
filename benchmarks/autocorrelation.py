"""Autocorrelation times of several moves, and what sweeps between updates are worth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.trained_networks import SAMPLES, Network, step_seconds, sweep_seconds
from nqs.local_energies import local_energies
from nqs.moves import single_flips
from nqs.sampling import Chains, Proposals, amplitude, draw_proposals, draw_signs, equilibrate, sweep
from nqs.statistics import autocorrelation_time

SEEDS, CHAINS, SWEEPS = 4, 128, 128
# A time above a tenth of the records is a lower bound: the tail of the sum is noise.
LONGEST = SWEEPS / 10
THINNINGS = (1, 2, 4)
OBSERVABLES = ("energy", "abs m", "m")


def _engine(key: Array, sites: int, chains: int) -> Proposals:
    return draw_proposals(key, single_flips(sites), chains, jnp.float32)


def _without_sign(key, sites, chains):
    return _engine(key, sites, chains)._replace(signs=jnp.full(chains, jnp.inf, jnp.float32))


def _random_site(key, sites, chains):
    """The same random site for all chains, some of them twice in a sweep, some never."""
    chosen = jax.random.randint(jax.random.fold_in(key, 1), (sites, 1), 0, sites, jnp.int32)
    return _engine(key, sites, chains)._replace(sites=chosen)


def _metropolis(key, sites, chains):
    """Accepted with chance min(1, π(s') / π(s)): log u where the heat bath has a logistic number."""
    # log u is −Exponential; the log of a float32 uniform would be −∞ once in 8 million.
    thresholds = -jax.random.exponential(jax.random.fold_in(key, 2), (sites, chains), jnp.float32)
    return _engine(key, sites, chains)._replace(thresholds=thresholds)


def _random_site_metropolis(key, sites, chains):
    return _metropolis(key, sites, chains)._replace(sites=_random_site(key, sites, chains).sites)


def _shared(draw: Callable[..., Proposals]):
    def swept(key, spins, weights, layout):
        return sweep(draw(key, *spins.shape), spins, weights, layout).chains.spins

    return swept


def _own_sites(key, spins, weights, _):
    """Metropolis at a random site of each chain's own: rows of W are gathered for each chain."""
    for_sites, for_rest = jax.random.split(key)
    drawn = _metropolis(for_rest, *spins.shape)
    sites = jax.random.randint(for_sites, spins.shape, 0, len(spins))
    chains = jnp.arange(spins.shape[1])

    def propose(chains_state, inputs):
        spins, theta = chains_state
        sites, thresholds = inputs
        flipped = theta - 2 * weights[sites].T * spins[sites, chains]
        accept = thresholds < 2 * (amplitude(flipped) - amplitude(theta))
        spins = spins.at[sites, chains].multiply(jnp.where(accept, -1, 1).astype(spins.dtype))
        return Chains(spins, jnp.where(accept, flipped, theta)), None

    swept, _ = jax.lax.scan(propose, Chains(spins, weights.T @ spins), (sites, drawn.thresholds))
    return draw_signs(swept, drawn.signs).spins


MOVES = {
    "permutation by heat bath, sign (the engine)": _shared(_engine),
    "the same without the sign": _shared(_without_sign),
    "permutation by Metropolis, sign": _shared(_metropolis),
    "shared random site by heat bath, sign": _shared(_random_site),
    "shared random site by Metropolis, sign": _shared(_random_site_metropolis),
    "each chain its own random site by Metropolis, sign": _own_sites,
}
ENGINE = next(iter(MOVES))


@partial(jax.jit, static_argnames="moves")
def _records(key, form, spins, weights, layout, moves: str):
    """Local energies and Σ σz after each sweep, (SWEEPS, chains) each."""
    weights = weights.astype(jnp.float32)

    def one(spins, index):
        spins = MOVES[moves](jax.random.fold_in(key, index), spins, weights, layout)
        ratios = sweep(None, spins, weights, layout, form.flip_sites).log_ratios
        return spins, (local_energies(form, spins, ratios), spins.sum(0))

    return jax.lax.scan(one, spins, jnp.arange(SWEEPS))[1]


def series(network: Network, moves: str) -> list[dict[str, np.ndarray]]:
    """For each seed, the observables' records (SWEEPS, CHAINS) in equilibrium."""
    weights, found = jnp.asarray(network.weights), []
    for seed in range(SEEDS):
        for_start, for_records = jax.random.split(jax.random.key(1000 + seed))
        start = network.spins[:, seed * CHAINS : (seed + 1) * CHAINS]
        # The engine's own moves prepare all: what is compared is how fast a stationary chain forgets.
        start = equilibrate(for_start, network.moves, start, weights, network.rows, 20)
        energies, totals = _records(for_records, network.form, start, weights, network.rows, moves)
        energies, totals = np.asarray(energies, float), np.asarray(totals, float)
        found.append({"energy": energies, "abs m": np.abs(totals), "m": totals})
    return found


def print_moves(networks: list[Network]) -> None:
    """Autocorrelation time in sweeps of N proposals, for every move and network."""
    print(
        f"\nIntegrated autocorrelation time in sweeps of N proposals (1/2: independent), {SEEDS} seeds of "
        f"{CHAINS} chains and {SWEEPS} sweeps; error over seeds.\n"
    )
    print("| lattice, h | weights per spin | moves | energy | abs(Σσz) | Σσz |\n|---|---|---|---|---|---|")
    for network in networks:
        for moves in MOVES:
            records = series(network, moves)
            times = [_time_text([autocorrelation_time(r[name]) for r in records]) for name in OBSERVABLES]
            print(f"| {_name(network)} | {moves} | {' | '.join(times)} |", flush=True)


def _time_text(times: list[float]) -> str:
    mean, error = np.mean(times), np.std(times, ddof=1) / np.sqrt(len(times))
    return f"> {LONGEST:.0f}" if mean > LONGEST else f"{mean:.2f}({error:.2f})"


def print_economy(networks: list[Network]) -> None:
    """Effective samples a second of a step for several sweeps between updates."""
    print(
        f"\nEffective samples of the energy a millisecond, {SAMPLES} / (2 τ) a step with τ in steps, "
        "for 1, 2 and 4 sweeps a step. Times are of the processor.\n"
    )
    print(
        "| lattice, h | weights per spin | ms a sweep | ms of the rest | 1 | 2 | 4 | most with | gain over 1 |"
        "\n|---|---|---|---|---|---|---|---|---|"
    )
    for network in networks:
        records = series(network, ENGINE)
        own, whole = 1e3 * sweep_seconds(network), 1e3 * step_seconds(network)
        rest, yields = max(0.0, whole - own), {}
        for sweeps in THINNINGS:
            tau = np.mean([autocorrelation_time(r["energy"][::sweeps]) for r in records])
            yields[sweeps] = SAMPLES / (2 * tau) / (rest + sweeps * own)
        best = max(yields, key=yields.get)
        numbers = " | ".join(f"{value:.3g}" for value in yields.values())
        print(
            f"| {_name(network)} | {own:.2f} | {rest:.2f} | {numbers} | {best} "
            f"| {yields[best] / yields[1]:.2f} |",
            flush=True,
        )


def _name(network: Network) -> str:
    hamiltonian = network.hamiltonian
    state = network.weights_per_spin if network.steps else "initial weights"
    return f"{hamiltonian.side} × {hamiltonian.side}, {hamiltonian.field:g} | {state}"
