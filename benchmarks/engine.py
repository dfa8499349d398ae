"""Milliseconds per SR step, ours and NetKet's, in one run on one core.

    python -m benchmarks.engine [--sides 4 6] [--densities 1 0.25 0.03] [--repeats 5]

Both train the same network on the same Hamiltonian with 1024 chains and one sweep a step. NetKet is
tuned: one persistent chain a sample, no discarded sweeps, VMC_SR solved in samples, real mode. Its cost
does not depend on the density; ours does. Repeats of all rows alternate, so that a noisy machine is
noisy for all, and the median and range are given.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

SAMPLES = 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[4, 6])
    parser.add_argument("--densities", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.125, 0.03125])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    _one_core()
    _print_versions()
    for side in arguments.sides:
        rows: dict[str, Callable[[], float]] = {"NetKet, tuned": _netket_step(side)}
        for density in arguments.densities:
            label, step = _our_step(side, density)
            rows[label] = step
        _print_table(side, rows, arguments.repeats)


def _one_core() -> None:
    """Bind to one core, before jax starts its threads."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    from orchestrator.actors import Slot, slot_environment

    os.environ.update(slot_environment(Slot(0, (core,), 1)))


def _print_versions() -> None:
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "netket", "numpy"))
    print(f"one core, {SAMPLES} samples, width 8 N, {packages}, Python {platform.python_version()}")


def _netket_step(side: int) -> Callable[[], float]:
    """A function that makes some steps and returns the seconds of one."""
    import netket as nk

    from nqs.config import FeedForward, TransverseFieldIsing
    from nqs.hamiltonians import netket_graph
    from nqs.networks import flax_module

    hamiltonian = TransverseFieldIsing(side=side, field=3.04438)
    graph = netket_graph(hamiltonian)
    hilbert = nk.hilbert.Spin(0.5, graph.n_nodes)
    # The jax flavour of the operator is the faster one inside VMC_SR.
    operator = nk.operator.IsingJax(hilbert, graph, h=hamiltonian.field, J=-1.0)
    sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=SAMPLES, sweep_size=graph.n_nodes)
    state = nk.vqs.MCState(
        sampler, flax_module(FeedForward(), graph.n_nodes), n_samples=SAMPLES, n_discard_per_chain=0, seed=1
    )
    driver = nk.driver.VMC_SR(
        operator,
        nk.optimizer.Sgd(8e-3),
        diag_shift=1e-4,
        variational_state=state,
        use_ntk=True,
        mode="real",
    )
    driver.run(5, show_progress=False)
    steps = max(3, 200 // side**2)

    def measure() -> float:
        started = time.perf_counter()
        driver.run(steps, show_progress=False)
        return (time.perf_counter() - started) / steps

    return measure


def _our_step(side: int, density: float) -> tuple[str, Callable[[], float]]:
    """Label and a function that makes 50 steps of our engine and returns the seconds of one."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from nqs.config import FeedForward, TransverseFieldIsing
    from nqs.hamiltonians import flip_form
    from nqs.layouts import RowLayout, choose_layout
    from nqs.networks import initial_weights
    from nqs.sampling import random_spins
    from nqs.training import Problem, TrainingState, train

    hamiltonian, network = TransverseFieldIsing(side=side, field=3.04438), FeedForward()
    shape = network.layers(hamiltonian.sites)["hidden"]
    size = shape[0] * shape[1]
    # A random mask stands for a trained one.
    indices = np.sort(np.random.default_rng(0).choice(size, round(density * size), replace=False))
    layout = jax.tree.map(jnp.asarray, choose_layout(shape, indices, SAMPLES, jax.default_backend() == "cpu"))
    key = jax.random.key(0)
    weights = initial_weights(key, network, hamiltonian.sites)["hidden"]
    if isinstance(layout, RowLayout):
        weights = weights * layout.mask
    else:
        live = weights.ravel()[indices]
        weights = jnp.zeros(len(layout.weight_sites)).at[: len(live)].set(live)
    problem = Problem(flip_form(hamiltonian), jnp.float64(8e-3), jnp.float64(1e-4))
    problem = jax.tree.map(jnp.asarray, problem)
    state = TrainingState(weights, random_spins(key, hamiltonian.sites, SAMPLES), jnp.int32(0))
    state, _ = train(key, problem, layout, state, 1, 100)
    steps, made = 50, 100

    def measure() -> float:
        nonlocal state, made
        started = time.perf_counter()
        state, records = train(key, problem, layout, state, made + 1, steps)
        jax.block_until_ready(records)
        made += steps
        return (time.perf_counter() - started) / steps

    return f"ours, {len(indices) / hamiltonian.sites:g} weights per spin", measure


def _print_table(side: int, rows: dict[str, Callable[[], float]], repeats: int) -> None:
    times: dict[str, list[float]] = {label: [] for label in rows}
    for _ in range(repeats):
        for label, measure in rows.items():
            times[label].append(1e3 * measure())
    baseline = statistics.median(times["NetKet, tuned"])
    print(
        f"\n| {side} × {side} | ms a step, median of {repeats} | range | NetKet / this |\n|---|---|---|---|"
    )
    for label, measured in times.items():
        median = statistics.median(measured)
        print(
            f"| {label} | {median:.2f} | {min(measured):.2f}–{max(measured):.2f} | {baseline / median:.1f} |"
        )


if __name__ == "__main__":
    main()
