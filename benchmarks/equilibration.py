"""How many sweeps chains need after their network changed: exactly at L = 4, with chains at L = 6 and 3."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2

from benchmarks.trained_networks import SAMPLES, Network, untrained
from nqs import full_summation
from nqs.local_energies import local_energies
from nqs.runs import FRESH_SWEEPS, REWIND_SWEEPS
from nqs.sampling import equilibrate, random_spins, sweep

GROUPS = 16  # of SAMPLES chains, each with its own sites and thresholds
SEQUENCES = 8
COUNTS = (0, 1, 2, 3, 5, 10, 20, 50, 100)
PAPER_RATIO = 0.12


class Change:
    """A change of network under the chains.

    Attributes:
        name: of the table's row.
        before: the network that the chains are in equilibrium with; None: random spins.
        after: the network that they are swept with.
    """

    def __init__(self, name: str, before: Network | None, after: Network):
        self.name, self.before, self.after = name, before, after


def changes(levels: list[Network]) -> list[Change]:
    """The changes to test, from the dense network and the most pruned one of a trajectory."""
    dense, last = levels[0], levels[-1]
    initial = untrained(dense.hamiltonian.side, dense.hamiltonian.field, seed=77)
    jump = dense.rewound(1 - len(last.indices) / len(dense.indices))
    return [
        Change(f"rewind after {dense.weights_per_spin} weights per spin", dense, dense.rewound(PAPER_RATIO)),
        Change(f"rewind after {last.weights_per_spin}", last, last.rewound(PAPER_RATIO)),
        Change(f"from {dense.weights_per_spin} to {jump.weights_per_spin} at once", dense, jump),
        Change("random spins, initial weights", None, initial),
        Change("random spins, rewound dense network", None, dense.rewound(PAPER_RATIO)),
        Change(f"random spins, trained {last.weights_per_spin}", None, last),
    ]


class ExactChain:
    """The distribution of a chain over all 2^N configurations, proposal by proposal, without noise.

    A proposal of site i takes p(x) to p(x)(1 − a(x)) + p(x^i) a(x^i), with x^i its flip and
    a(x) = min(1, π(x^i)/π(x)), or π(x^i)/(π(x) + π(x^i)) by heat bath; the draw of the sign gives x the part
    π(x)/(π(x) + π(−x)) of its pair.
    """

    def __init__(self, weights: np.ndarray, heat_bath: bool):
        psi = full_summation.wave_function(weights)
        self.sites, self.probability = len(weights), psi**2
        self._flipped = np.arange(len(psi)) ^ (1 << np.arange(self.sites))[:, None]
        ratios = (psi[self._flipped] / psi) ** 2
        self._accepted = ratios / (1 + ratios) if heat_bath else np.minimum(1, ratios)

    def sweep(self, distribution: np.ndarray, sites: np.ndarray) -> np.ndarray:
        """(2^N,) after proposals of these sites and the draw of the overall sign."""
        for site in sites:
            moving = distribution * self._accepted[site]
            distribution = distribution - moving + moving[self._flipped[site]]
        # Flipping all bits of a configuration turns the vector around.
        pairs = distribution + distribution[::-1]
        return pairs * self.probability / (self.probability + self.probability[::-1])


def exact_deviations(change: Change, heat_bath: bool) -> np.ndarray:
    """The worst bias of E, |Σσz|, (Σσz)², in errors of GROUPS · SAMPLES samples: (sequences, sweeps + 1).

    All chains of a step try the same sites, so each of SEQUENCES random ones has a bias of its own; averaged
    over sequences it would be smaller. The engine's sweep has all sites, in random order, by heat bath; to
    compare, Metropolis at sites that are drawn one by one.
    """
    after = change.after
    chain = ExactChain(after.weights, heat_bath)
    psi = full_summation.wave_function(after.weights)
    totals = full_summation.all_spins(after.sites).sum(0)
    local = full_summation.apply(jax.tree.map(np.asarray, after.form), psi) / psi
    values = np.stack([local, np.abs(totals), totals**2])
    means = values @ chain.probability
    errors = np.sqrt((values - means[:, None]) ** 2 @ chain.probability / (GROUPS * SAMPLES))
    start = np.full(len(psi), 1 / len(psi))
    if change.before is not None:
        start = full_summation.wave_function(change.before.weights) ** 2
    found = np.zeros((SEQUENCES, COUNTS[-1] + 1))
    for sequence in range(SEQUENCES):
        generator, distribution = np.random.default_rng(sequence), start
        for count in range(COUNTS[-1] + 1):
            found[sequence, count] = np.abs(values @ (distribution - chain.probability) / errors).max()
            if found[sequence, count] < 1e-3:
                break
            sites = np.arange(chain.sites)
            sites = generator.permutation(sites) if heat_bath else generator.choice(sites, chain.sites)
            distribution = chain.sweep(distribution, sites)
    return found


def print_exact(trajectories: list[list[Network]]) -> None:
    """The table of the exact evolution."""
    print(
        f"\nBias of the chains' mean after so many sweeps, exactly: the worst of E, abs(Σσz), (Σσz)² and of "
        f"{SEQUENCES} random sequences of sites, in standard errors of {GROUPS} × {SAMPLES} samples (a training "
        f"step's error is {GROUPS**0.5:g} times as large). Then sweeps until it is below 1, and the "
        "same for Metropolis at random sites.\n"
    )
    _print_head("| below 1 after | Metropolis |")
    for levels in trajectories:
        for change in changes(levels):
            worst = exact_deviations(change, heat_bath=True).max(0)
            other = exact_deviations(change, heat_bath=False).max(0)
            row = _row(change, worst[list(COUNTS)])
            print(f"| {row} | {_below_one_after(worst)} | {_below_one_after(other)} |", flush=True)


def _below_one_after(worst: np.ndarray) -> str:
    above = np.flatnonzero(worst >= 1)
    enough = above[-1] + 1 if len(above) else 0
    return f"{enough}" if enough <= COUNTS[-1] else f"> {COUNTS[-1]}"


def _print_head(last: str) -> None:
    columns = " | ".join(map(str, COUNTS))
    print(f"| lattice, h | chains | {columns} {last}\n|{'---|' * (len(COUNTS) + 1 + last.count('|'))}")


def _row(change: Change, numbers) -> str:
    hamiltonian = change.after.hamiltonian
    name = f"{hamiltonian.side} × {hamiltonian.side}, {hamiltonian.field:g} | {change.name}"
    return f"{name} | {' | '.join(f'{number:.1f}' for number in numbers)}"


@jax.jit
def _observables(form, spins, weights, layout):
    """E, |Σσz|, (Σσz)² of each chain, (3, chains)."""
    weights = weights.astype(jnp.float32)
    energies = local_energies(form, spins, sweep(None, spins, weights, layout, form.flip_sites).log_ratios)
    total = spins.sum(0)
    return jnp.stack([energies, jnp.abs(total), total**2])


def chain_groups(change: Change) -> list[jax.Array]:
    """GROUPS × (sites, SAMPLES) spins that the change finds."""
    before, keys = change.before, jax.random.split(jax.random.key(5), GROUPS)
    if before is None:
        return [random_spins(key, change.after.sites, SAMPLES) for key in keys]
    # The training's own chains, a copy a group, until the copies have forgotten each other.
    weights, moves = jnp.asarray(before.weights), before.moves
    return [equilibrate(key, moves, before.spins, weights, before.rows, 20) for key in keys]


def sampled_deviations(change: Change) -> np.ndarray:
    """What `exact_deviations` gives, at COUNTS, from chains against a longer run of them: (counts, 3)."""
    after, weights = change.after, jnp.asarray(change.after.weights)
    moves, records, references = after.moves, [], []
    for group, spins in enumerate(chain_groups(change)):
        own, made, key = [], 0, jax.random.key(100 + group)
        for count in COUNTS:
            for_sweeps, sweeps = jax.random.fold_in(key, count), count - made
            spins = equilibrate(for_sweeps, moves, spins, weights, after.rows, sweeps)
            made = count
            own.append(np.asarray(_observables(after.form, spins, weights, after.rows), float))
        records.append(own)
        if group < GROUPS // 4:
            references.append(_long_run(jax.random.fold_in(key, 1000), after, weights, spins))
    records = np.concatenate(records, axis=-1)
    reference = np.concatenate(references, axis=-1)
    difference = records.mean(-1) - reference.mean(-1)
    return difference / np.sqrt(records.var(-1) / records.shape[-1] + reference.var(-1) / reference.shape[-1])


def _long_run(key, network: Network, weights, spins, between: int = 3, count: int = 40) -> np.ndarray:
    """Means over time of each chain's observables, (3, chains), for between · count sweeps more."""
    total, moves = 0.0, network.moves
    for record in range(count):
        for_sweeps = jax.random.fold_in(key, record + 1)
        spins = equilibrate(for_sweeps, moves, spins, weights, network.rows, between)
        total = total + np.asarray(_observables(network.form, spins, weights, network.rows), float)
    return total / count


def print_sampled(trajectories: list[list[Network]]) -> None:
    """The table from chains; numbers up to about 3 are noise there, the worst of three."""
    print(
        f"\nThe same from {GROUPS} × {SAMPLES} chains against a run of {GROUPS // 4} × {SAMPLES} of them for "
        "120 sweeps more; the worst of three normal numbers is below 2.4 in 95 % of cases. Last column: "
        "sweeps from which on it is below 3.\n"
    )
    _print_head("| below 3 from |")
    for levels in trajectories:
        # Not the first: two dense networks of full width take the most time, and nearly agree at L = 4.
        for change in changes(levels)[1:]:
            worst = np.abs(sampled_deviations(change)).max(1)
            above = np.flatnonzero(worst >= 3)
            first = above[-1] + 1 if len(above) else 0
            last = COUNTS[first] if first < len(COUNTS) else f"> {COUNTS[-1]}"
            print(f"| {_row(change, worst)} | {last} |", flush=True)


def print_chi_square(trajectories: list[list[Network]]) -> None:
    """Chi-square of GROUPS · SAMPLES chains against |ψ|² over all configurations."""
    print(f"\nChi-square against the exact distribution, {GROUPS} × {SAMPLES} chains: tail probability.\n")
    shown = (0, 5, REWIND_SWEEPS, FRESH_SWEEPS)
    print(
        f"| lattice, h | chains | {' | '.join(f'{count} sweeps' for count in shown)} |\n|{'---|' * (len(shown) + 2)}"
    )
    for levels in trajectories:
        for change in changes(levels):
            probability = full_summation.wave_function(change.after.weights) ** 2
            tails = []
            for count in shown:
                tails.append(_tail_probability(_visits(change, count), probability))
            name = f"{change.after.hamiltonian.side} × {change.after.hamiltonian.side}"
            numbers = " | ".join(f"{tail:.2g}" for tail in tails)
            print(f"| {name}, {change.after.hamiltonian.field:g} | {change.name} | {numbers} |", flush=True)


def _visits(change: Change, sweeps: int) -> np.ndarray:
    after, weights = change.after, jnp.asarray(change.after.weights)
    place, counts, moves = 1 << np.arange(after.sites), 0, after.moves
    for group, spins in enumerate(chain_groups(change)):
        spins = equilibrate(jax.random.key(300 + group), moves, spins, weights, after.rows, sweeps)
        counts = counts + np.bincount(place @ (np.asarray(spins) < 0), minlength=1 << after.sites)
    return counts


def _tail_probability(counts: np.ndarray, probability: np.ndarray) -> float:
    """Chance of a chi-square this large; configurations expected fewer than 10 times share a bin."""
    expected = counts.sum() * probability
    rare = expected < 10
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    filled = wanted > 0
    statistic = ((observed - wanted)[filled] ** 2 / wanted[filled]).sum()
    return float(chi2.sf(statistic, filled.sum() - 1))
