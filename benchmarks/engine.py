"""The speed ladder: one SR step of NetKet and of ours, from the paper's configuration to the sparsest network.

    python -m benchmarks.engine                 everything, about 25 minutes
    python -m benchmarks.engine --short         two lattices, tuned NetKet and ours, under 3 minutes

All rows of a lattice alternate on the same cores in one run, so that a noisy machine is noisy for all;
medians and ranges are given. 1024 samples, width 8 N, h = 3.04438, everything included: sampling, local
energies, SR. NetKet is the oracle of the tests, and the baseline here:

    B0   the paper's configuration: 16 chains, 5 sweeps discarded, SR by conjugate gradients
    B2   tuned: one persistent chain a sample, nothing discarded, VMC_SR solved in samples; the fastest of
         its float64 modes is the baseline of all ratios, float32 weights are listed beside it

Every row goes on from one network that was trained for 300 steps, or from its weights under a random mask: how
long conjugate gradients take depends on where the training is. The samples of B0's few chains are correlated,
so a row also has the time per effective sample.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from benchmarks.machine import bind_to_cores, describe_machine, peak_memory_gib

SAMPLES, FIELD, RATE, SHIFT = 1024, 3.04438, 8e-3, 1e-4
WEIGHTS_PER_SPIN = (32, 16, 8, 4, 1)
REPLICAS = 4


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        label: what is timed.
        measure: makes some steps and returns the seconds of one.
        effective: effective samples of a step; 1024 where every sample has its own chain.
        baseline: whether it competes for B2.
    """

    label: str
    measure: Callable[[], float]
    effective: float = SAMPLES
    baseline: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", help="default: 4 6 8 10; short: 4 10")
    parser.add_argument("--cores", type=int, default=1, help="cores for NetKet and ours alike (default 1)")
    parser.add_argument("--repeats", type=int, help="default: 5; short: 3")
    parser.add_argument("--short", action="store_true", help="only the rows that the bars are about")
    parser.add_argument("--no-trajectories", action="store_true", help="steps alone")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    bind_to_cores(arguments.cores)
    if arguments.memory_of:
        _print_own_memory(int(arguments.memory_of[0]), arguments.memory_of[1])
        return
    sides = arguments.sides or ([4, 10] if arguments.short else [4, 6, 8, 10])
    repeats = arguments.repeats or (3 if arguments.short else 5)
    print(describe_machine(), flush=True)
    if not arguments.short:
        _print_peaks()
    baselines = {}
    for side in sides:
        rows = short_rows(side) if arguments.short else all_rows(side)
        baselines[side] = _print_steps(side, rows, repeats)
    if not arguments.short:
        _print_phases(sides)
        _print_memory(sides)
    if not arguments.short and not arguments.no_trajectories:
        from benchmarks.projection import print_projection

        print_projection(baselines)


# --- NetKet


def netket_tuned(side: int, weights: str = "float64", on_the_fly: bool = True) -> Callable[[], float]:
    """Seconds of a step of NetKet with a chain for each sample."""
    import netket as nk

    operator, graph = _netket_ising(side)
    sampler = nk.sampler.MetropolisLocal(operator.hilbert, n_chains=SAMPLES, sweep_size=graph.n_nodes)
    state = nk.vqs.MCState(
        sampler,
        _netket_module(side, weights),
        n_samples=SAMPLES,
        n_discard_per_chain=0,
        seed=1,
        variables=_netket_variables(side, weights),
    )
    driver = nk.driver.VMC_SR(
        operator,
        nk.optimizer.Sgd(RATE),
        diag_shift=SHIFT,
        variational_state=state,
        use_ntk=True,
        on_the_fly=on_the_fly,
        mode="real",
    )
    return _netket_timer(driver, max(2, 200 // side**2))


def netket_conjugate_gradients(side: int, chains: int, discarded: int) -> Callable[[], float]:
    """Seconds of a step of NetKet with SR by conjugate gradients, to their default tolerance."""
    import netket as nk

    operator, graph = _netket_ising(side)
    sampler = nk.sampler.MetropolisLocal(operator.hilbert, n_chains=chains, sweep_size=graph.n_nodes)
    state = nk.vqs.MCState(
        sampler,
        _netket_module(side, "float64"),
        n_samples=SAMPLES,
        n_discard_per_chain=discarded,
        seed=1,
        variables=_netket_variables(side, "float64"),
    )
    with warnings.catch_warnings():
        # NetKet says that VMC_SR is the better choice here; that is the next row.
        warnings.simplefilter("ignore")
        driver = nk.driver.VMC(
            operator,
            nk.optimizer.Sgd(RATE),
            variational_state=state,
            preconditioner=nk.optimizer.SR(diag_shift=SHIFT, holomorphic=False),
        )
    return _netket_timer(driver, 1)


def _netket_ising(side: int):
    import netket as nk

    graph = nk.graph.Grid([side, side], pbc=False)
    # The jax flavour of the operator is the faster one inside VMC_SR.
    return nk.operator.IsingJax(nk.hilbert.Spin(0.5, graph.n_nodes), graph, h=FIELD, J=-1.0), graph


def _netket_module(side: int, weights: str):
    import flax.linen as nn
    import jax

    class Relu(nn.Module):
        @nn.compact
        def __call__(self, spins):
            start = nn.initializers.normal(0.01)
            theta = nn.Dense(8 * side**2, use_bias=False, param_dtype=weights, kernel_init=start)(spins)
            return jax.nn.relu(theta).sum(-1)

    return Relu()


def _netket_variables(side: int, weights: str) -> dict:
    import jax.numpy as jnp

    return {"params": {"Dense_0": {"kernel": jnp.asarray(trained(side)[0], weights)}}}


def _netket_timer(driver, steps: int) -> Callable[[], float]:
    driver.run(2, show_progress=False)

    def measure() -> float:
        started = time.perf_counter()
        driver.run(steps, show_progress=False)
        return (time.perf_counter() - started) / steps

    return measure


# --- ours


@cache
def trained(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (sites, hidden) and spins (sites, samples) of a dense network after 300 steps."""
    from nqs.training import train

    key, problem, layout, state = _arguments(side, np.arange(8 * side**4), None, 0)
    for first in (1, 101, 201):
        state, _ = train(key, problem, layout, state, first, 100)
    return np.asarray(state.weights), np.asarray(state.spins)


def our_arguments(side: int, live: int, seed: int = 0):
    """Key, problem, layout and state for `train`; a random mask stands for a trained one."""
    indices = np.sort(np.random.default_rng(seed).choice(8 * side**4, live, replace=False))
    return _arguments(side, indices, trained(side), seed)


def _arguments(side: int, indices: np.ndarray, start: tuple[np.ndarray, np.ndarray] | None, seed: int):
    import jax
    import jax.numpy as jnp

    from nqs.config import FeedForward, TransverseFieldIsing
    from nqs.hamiltonians import flip_form
    from nqs.layouts import RowLayout, choose_layout
    from nqs.moves import single_flips
    from nqs.networks import initial_weights
    from nqs.sampling import random_spins
    from nqs.training import Problem, TrainingState

    hamiltonian, network = TransverseFieldIsing(side=side, field=FIELD), FeedForward(width_per_spin=8)
    shape, key = network.layers(hamiltonian.sites)["hidden"], jax.random.key(seed)
    if start is None:
        kernel = initial_weights(key, network, hamiltonian.sites)["hidden"]
        start = np.asarray(kernel), np.asarray(random_spins(key, hamiltonian.sites, SAMPLES))
    full, spins = start
    layout = choose_layout(shape, indices, SAMPLES, jax.default_backend() == "cpu")
    if isinstance(layout, RowLayout):
        weights = full * layout.mask
    else:
        weights = np.pad(full.ravel()[indices], (0, len(layout.weight_sites) - len(indices)))
    moves = single_flips(hamiltonian.sites)
    problem = Problem(flip_form(hamiltonian), moves, np.float64(RATE), np.float64(SHIFT))
    state = TrainingState(weights, spins, np.int32(0))
    # Copies: a program gives its state's memory away.
    return key, *jax.tree.map(jnp.array, (problem, layout, state))


def our_step(side: int, live: int) -> Callable[[], float]:
    """Seconds of a step of our engine."""
    from nqs.training import train

    key, problem, layout, state = our_arguments(side, live)
    return _our_timer(lambda state, first, count: train(key, problem, layout, state, first, count), state)


def our_replicas(side: int, live: int, replicas: int) -> Callable[[], float]:
    """Seconds of a step of one of several replicas in one program."""
    import jax
    import jax.numpy as jnp

    from nqs.training import train_batch

    members = [our_arguments(side, live, seed) for seed in range(replicas)]
    key, problem, layout, state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)

    def steps(state, first, count):
        every = jnp.ones(replicas, jnp.int32)
        return train_batch(key, problem, layout, state, first * every, count * every)

    measure = _our_timer(steps, state)
    return lambda: measure() / replicas


def _our_timer(steps, state) -> Callable[[], float]:
    import jax

    made = 0

    def make(count: int) -> float:
        nonlocal state, made
        started = time.perf_counter()
        state, records = steps(state, made + 1, count)
        jax.block_until_ready((state, records))
        made += count
        return (time.perf_counter() - started) / count

    make(1)  # compiled here
    # Half a second: long enough to time, short enough to alternate.
    count = int(min(100, max(5, 0.5 / make(20))))
    return lambda: make(count)


# --- tables


def all_rows(side: int) -> list[Row]:
    """Every line of a lattice."""
    sites = side**2
    rows = [
        Row(
            "B0: NetKet, the paper's configuration",
            netket_conjugate_gradients(side, chains=16, discarded=5),
            _effective_of_chains(side),
        ),
        Row("NetKet, B2's chains, SR by conjugate gradients", netket_conjugate_gradients(side, SAMPLES, 0)),
        Row("NetKet, tuned, Jacobian kept", netket_tuned(side, on_the_fly=False), baseline=True),
        Row("NetKet, tuned, on the fly", netket_tuned(side), baseline=True),
        Row("NetKet, tuned, on the fly, float32 weights", netket_tuned(side, "float32")),
        Row(f"ours, {8 * sites} weights per spin (dense)", our_step(side, 8 * sites**2)),
    ]
    rows += [Row(f"ours, {per_spin}", our_step(side, per_spin * sites)) for per_spin in WEIGHTS_PER_SPIN]
    label = f"ours, 4, each of {REPLICAS} replicas in one program"
    return [*rows, Row(label, our_replicas(side, 4 * sites, REPLICAS))]


def short_rows(side: int) -> list[Row]:
    """The lines that the bars are about; NetKet in the float64 mode that is the faster one at this size."""
    sites = side**2
    return [
        Row("NetKet, tuned", netket_tuned(side, on_the_fly=side > 4), baseline=True),
        Row(f"ours, {8 * sites} weights per spin (dense)", our_step(side, 8 * sites**2)),
        Row("ours, 4", our_step(side, 4 * sites)),
    ]


def _effective_of_chains(side: int) -> float:
    """Effective samples of 64 consecutive sweeps of 16 chains: 1024 / 2τ, τ of the local energy."""
    import jax
    import jax.numpy as jnp

    from nqs.config import FeedForward, TransverseFieldIsing
    from nqs.hamiltonians import flip_form
    from nqs.layouts import row_layout
    from nqs.observables import measured_form, record
    from nqs.statistics import autocorrelation_time

    key, problem, _, state = our_arguments(side, 8 * side**4)
    hamiltonian = TransverseFieldIsing(side=side, field=FIELD)
    shape = FeedForward(width_per_spin=8).layers(side**2)["hidden"]
    rows = row_layout(shape, np.arange(shape[0] * shape[1]), jax.default_backend() == "cpu")
    rows, form = jax.tree.map(jnp.asarray, (rows, measured_form(flip_form(hamiltonian), side**2)))
    _, records = record(key, form, problem.moves, state.spins, state.weights, rows, state.weights, rows, 40)
    return SAMPLES / (2 * autocorrelation_time(np.asarray(records.local_energies)))


def _print_steps(side: int, rows: list[Row], repeats: int) -> float:
    """The table of a lattice; returns the baseline's seconds a step."""
    times: dict[str, list[float]] = {row.label: [] for row in rows}
    for _ in range(repeats):
        for row in rows:
            times[row.label].append(row.measure())
    medians = {label: statistics.median(measured) for label, measured in times.items()}
    baseline = min(medians[row.label] for row in rows if row.baseline)
    print(
        f"\n| {side} × {side} | ms a step, median of {repeats} | range | µs an effective sample "
        "| fastest NetKet in float64 / this |\n|---|---|---|---|---|"
    )
    for row in rows:
        measured, median = [1e3 * value for value in times[row.label]], medians[row.label]
        print(
            f"| {row.label} | {1e3 * median:.3g} | {min(measured):.3g}–{max(measured):.3g} "
            f"| {1e6 * median / row.effective:.2g} | {baseline / median:.3g} |",
            flush=True,
        )
    return baseline


def _print_peaks() -> None:
    """What this machine's products and factorisations reach, as jax calls them."""
    import jax
    import jax.numpy as jnp

    print("\n| size 1024 | GFlop/s in products | in LAPACK's Cholesky | in ours |\n|---|---|---|---|")
    from nqs.linear_solve import factorise, upper_blocks

    for dtype in (jnp.float32, jnp.float64):
        matrix = jax.random.normal(jax.random.key(0), (SAMPLES, SAMPLES), dtype)
        positive = matrix @ matrix.T / SAMPLES + jnp.eye(SAMPLES, dtype=dtype)
        blocks = upper_blocks(positive)
        lapack = jax.jit(lambda a: jax.lax.linalg.cholesky(a, symmetrize_input=False))
        rates = (
            2 * SAMPLES**3 / _seconds(jax.jit(lambda a: a @ a), matrix),
            SAMPLES**3 / 3 / _seconds(lapack, positive),
            SAMPLES**3 / 3 / _seconds(jax.jit(factorise), blocks, dtype(0)),
        )
        print(f"| {dtype.__name__} |" + "|".join(f" {rate / 1e9:.0f} " for rate in rates) + "|", flush=True)


def _print_phases(sides: list[int]) -> None:
    """Sampling, local energies and SR apart, each as a program of its own."""
    print("\n| ms | weights per spin | sampling | local energies | SR |\n|---|---|---|---|---|")
    for side in sides:
        for per_spin in (8 * side**2, 32, 4):
            seconds = _phases(side, round(per_spin * side**2))
            cells = "|".join(f" {1e3 * value:.2f} " for value in seconds)
            print(f"| {side} × {side} | {per_spin} |{cells}|", flush=True)


def _phases(side: int, live: int) -> tuple[float, float, float]:
    import jax
    import jax.numpy as jnp

    from nqs.layouts import RowLayout
    from nqs.local_energies import local_energies
    from nqs.reconfiguration import update_in_parameters, update_in_samples
    from nqs.sampling import draw_proposals, sweep

    key, problem, layout, state = our_arguments(side, live)
    weights, form = state.weights.astype(jnp.float32), problem.form
    update = update_in_samples if isinstance(layout, RowLayout) else update_in_parameters

    @jax.jit
    def sampling(key, spins):
        proposals = draw_proposals(key, problem.moves, spins.shape[1], jnp.float32)
        return sweep(proposals, spins, weights, layout).chains

    @jax.jit
    def energies_of(spins):
        _, log_ratios, _ = sweep(None, spins, weights, layout, form.flip_sites)
        return local_energies(form, spins, log_ratios)

    direction = jax.jit(lambda chains, energies: update(chains, energies, layout, SHIFT, jnp.float32))
    chains = sampling(key, state.spins)
    energies = energies_of(chains.spins)
    return (
        _seconds(sampling, key, chains.spins),
        _seconds(energies_of, chains.spins),
        _seconds(direction, chains, energies),
    )


def _seconds(function, *arguments, repeats: int = 15) -> float:
    import jax

    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _print_memory(sides: list[int]) -> None:
    """Peak memory of processes that do one thing: imports, compiled programs (cached) and 100 steps."""
    print(
        "\n| peak memory, GiB | NetKet, tuned | ours, dense | ours, 4 weights per spin |\n|---|---|---|---|"
    )
    for side in sides:
        cells = []
        for what in ("netket", "dense", "sparse"):
            command = [sys.executable, "-m", "benchmarks.engine", "--memory-of", str(side), what]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            cells.append(f" {float(done.stdout.split()[-1]):.2f} ")
        print(f"| {side} × {side} |" + "|".join(cells) + "|", flush=True)


def _print_own_memory(side: int, what: str) -> None:
    if what == "netket":
        netket_tuned(side)()
    else:
        our_step(side, 8 * side**4 if what == "dense" else 4 * side**2)()
    print(peak_memory_gib())


if __name__ == "__main__":
    main()
