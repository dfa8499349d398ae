"""What a sweep is worth: autocorrelation of the moves, sweeps a step, and sweeps to equilibrium.

    python -m benchmarks.sampling

Trains short dense networks and prunes them to 4 weights per spin, in the ferromagnet, at the critical field
and in the paramagnet; prints the tables of docs/sampling.md.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.machine import bind_to_cores, describe_machine

CHI_SQUARE_SIDE = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampling", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--fields", type=float, nargs="+", default=[1.0, 3.04438, 5.0], help="h in units of J"
    )
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[3, 4, 6], help="lattices; at 3 the chi-square alone"
    )
    parser.add_argument("--steps", type=int, default=200, help="of the dense training; a level has a third")
    parser.add_argument("--core", type=int, default=0, help="which of the allowed cores")
    arguments = parser.parse_args()
    bind_to_cores(1, first=arguments.core)
    print(describe_machine(), flush=True)
    run(arguments.sides, arguments.fields, arguments.steps)


def run(sides: list[int], fields: list[float], steps: int) -> None:
    """Train, and print the tables of each lattice."""
    from benchmarks import autocorrelation, equilibration
    from benchmarks.trained_networks import trained_levels, untrained
    from nqs.config import FULL_SUMMATION_SITES

    started = time.process_time()
    for side in sides:
        levels = 1 if side == CHI_SQUARE_SIDE else 3
        trajectories = [trained_levels(side, field, steps, levels, seed=1) for field in fields]
        if side == CHI_SQUARE_SIDE:
            equilibration.print_chi_square(trajectories)
            continue
        ends = [trajectory[end] for trajectory in trajectories for end in (0, -1)]
        autocorrelation.print_economy(ends)
        if side**2 <= FULL_SUMMATION_SITES:
            equilibration.print_exact(trajectories)
        else:
            equilibration.print_sampled(trajectories)
        autocorrelation.print_moves([untrained(side, fields[0], seed=2), *ends])
    print(f"\n{time.process_time() - started:.0f} s of one core", flush=True)


if __name__ == "__main__":
    main()
