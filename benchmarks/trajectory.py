"""A whole pruning trajectory of the paper, for real, in one process on one core.

    python -m benchmarks.trajectory --side 4

Dense pre-training, all levels in series and every measurement, as a slot would do them; nothing is
written. Prints the time, the peak memory, the programs that were compiled and how each level went.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from benchmarks.machine import bind_to_cores, describe_machine, peak_memory_gib

SWEEP = Path(__file__).resolve().parent.parent / "sweeps" / "finite_size.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trajectory", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--side", type=int, default=4, help="lattice of sweeps/finite_size.py")
    parser.add_argument("--core", type=int, default=0, help="which of the allowed cores")
    arguments = parser.parse_args()
    bind_to_cores(1, first=arguments.core)
    print(describe_machine(), flush=True)
    run(trajectory_of(arguments.side))


def trajectory_of(side: int):
    """The paper's trajectory of finite_size at a side, first replicate."""
    from nqs.config import TrajectoryRun
    from orchestrator.plan import load_plan

    jobs = load_plan(SWEEP, "paper").jobs.values()
    return next(
        job
        for job in jobs
        if isinstance(job, TrajectoryRun) and job.dense.hamiltonian.side == side and job.replicate == 0
    )


def run(trajectory) -> None:
    """Train and measure the dense network and every level; print a line each and the totals."""
    import jax

    from nqs.config import Measurement
    from nqs.runs import advance
    from nqs.tasks import Task

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: (
            compiled.append(seconds) if event.endswith("backend_compile_duration") else None
        )
    )
    measurement, started = Measurement(), time.perf_counter()
    dense = advance(Task(trajectory.dense, 0, measurement), math.inf)
    outcomes = [dense]
    print("| level | weights | energy | error | relative variance | s |\n|---|---|---|---|---|---|")
    _print_level(dense)
    for level in range(1, trajectory.levels + 1):
        last = outcomes[-1]
        task = Task(
            trajectory,
            level,
            measurement,
            rewind=dense.weights,
            previous=last.weights,
            checkpoint=last.checkpoint,
        )
        outcomes.append(advance(task, math.inf))
        _print_level(outcomes[-1])
    seconds = time.perf_counter() - started
    steps = sum(outcome.steps for outcome in outcomes)
    print(
        f"\n{trajectory.dense.hamiltonian.label}: {steps} steps and {len(outcomes)} measurements in "
        f"{seconds / 60:.1f} minutes, {1e3 * seconds / steps:.2f} ms a step with everything; peak memory "
        f"{peak_memory_gib():.2f} GiB; {len(compiled)} compilations took {sum(compiled):.0f} s"
    )


def _print_level(outcome) -> None:
    state = outcome.state
    if state is None:
        raise SystemExit(f"level {outcome.level} diverged: {outcome.diverged}")
    print(
        f"| {outcome.level} | {state['remaining']} | {state['energy']:.8f} | {state['energy_error']:.1e} "
        f"| {state['variance'] / state['energy'] ** 2:.2e} | {state['wall_seconds']:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
