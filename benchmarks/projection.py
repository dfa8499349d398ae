"""What the paper's trajectories of Fig. 3 take: steps × measured step time of every level.

    python -m benchmarks.projection [--sides 4 6 10]

Every level is trained for a few steps by the code that a study runs (`nqs.runs.advance`), twice with
different numbers of steps: the difference gives the time of a step, the rest is what a level takes
besides (chains to equilibrium, measurement with its fidelity). A random mask with the level's count stands
for the trained one, and chains start afresh, with more sweeps than after a rewind. Programs are compiled
before.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import NamedTuple

import numpy as np

from benchmarks.machine import bind_to_cores, describe_machine
from benchmarks.trajectory import trajectory_of

SIDES = (4, 5, 6, 7, 8, 9, 10)
SHORT, LONG = 10, 40


class Projection(NamedTuple):
    """Attributes: steps; seconds of all steps; seconds of all levels besides."""

    steps: int
    training: float
    besides: float

    @property
    def total(self) -> float:
        return self.training + self.besides


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.projection", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES))
    arguments = parser.parse_args()
    bind_to_cores(1)
    print(describe_machine(), flush=True)
    print_projection({}, arguments.sides)


def print_projection(netket_seconds: dict[int, float], sides=SIDES) -> None:
    """A line for each lattice; NetKet's seconds a step, where measured, give the ratio."""
    print(
        "\n| trajectory | steps | ms a step, mean | hours of one core | of it measurement and the like "
        "| NetKet's steps alone, hours | ratio |\n|---|---|---|---|---|---|---|"
    )
    for side in sides:
        projected = project(side)
        cells = [
            f"{side} × {side}",
            f"{projected.steps}",
            f"{1e3 * projected.training / projected.steps:.2f}",
            f"{projected.total / 3600:.2f}",
            f"{projected.besides / projected.total:.0%}",
        ]
        if side in netket_seconds:
            netket = projected.steps * netket_seconds[side]
            cells += [f"{netket / 3600:.1f}", f"{netket / projected.total:.3g}"]
        else:
            cells += ["–", "–"]
        print("| " + " | ".join(cells) + " |", flush=True)


def project(side: int) -> Projection:
    """The paper's trajectory at a side, level by level."""
    trajectory = trajectory_of(side)
    levels = [_level(trajectory, level) for level in range(trajectory.levels + 1)]
    steps = [(trajectory.dense if level == 0 else trajectory).steps_at(level) for level in range(len(levels))]
    training = sum(count * seconds for count, (seconds, _) in zip(steps, levels, strict=True))
    return Projection(sum(steps), training, sum(besides for _, besides in levels))


def _level(trajectory, level: int) -> tuple[float, float]:
    """Seconds of a step and of the rest of a level."""
    short, long = (_task(trajectory, level, steps) for steps in (SHORT, LONG))
    _wall(short)  # compiled, cached, warm
    walls = [(_wall(short), _wall(long)) for _ in range(2)]
    step = statistics.median((b - a) / (LONG - SHORT) for a, b in walls)
    return step, max(0.0, statistics.median(a for a, _ in walls) - SHORT * step)


def _wall(task) -> float:
    from nqs.runs import advance

    return advance(task, math.inf).state["wall_seconds"]


def _task(trajectory, level: int, steps: int):
    """A level's task with few steps, from a network with random weights and a random mask."""
    from nqs.config import Measurement
    from nqs.tasks import LiveWeights, Task

    dense = trajectory.dense.model_copy(update={"steps": steps})
    if level == 0:
        return Task(dense, 0, Measurement())
    shape = dense.network.layers(dense.hamiltonian.sites)["hidden"]
    generator = np.random.default_rng(level)
    rewind = LiveWeights(
        shape, np.arange(math.prod(shape), dtype=np.int32), 0.01 * generator.normal(size=math.prod(shape))
    )
    live = np.sort(generator.choice(math.prod(shape), trajectory.remaining(level - 1), replace=False))
    previous = LiveWeights(shape, live.astype(np.int32), rewind.values[live])
    run = trajectory.model_copy(update={"parent": dense, "steps_per_level": steps})
    return Task(run, level, Measurement(), rewind={"hidden": rewind}, previous={"hidden": previous})


if __name__ == "__main__":
    main()
