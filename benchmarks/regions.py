"""Do the region fits find known boundaries, how often do their 95 % intervals cover, and do they notice another form?

    python -m benchmarks.regions --curves 300

Made-up curves: a high-error plateau, a power law, a low-error plateau, with the exact boundaries and exponent
of `TRUTH`. The bends are those of a sum of powers (w = 1/β), or sharp; the noise of each trajectory is
correlated from level to level, beside an offset of the whole trajectory. Prints, for each number of
trajectories, the bias and the coverage of every fitted number, in how many curves another form was noticed,
and how often a plateau was missed or invented; and the same for curves with a further step.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import polars as pl

from benchmarks.machine import describe_machine
from explorer.analysis import QUANTITIES
from explorer.analysis.regions import EXPONENT, HIGH, LOW, LOWER, UPPER, Regions, fit_regions

# The paper's ratio 0.12 takes 100 weights per spin to 1 in 36 levels.
DENSITIES = 100 * 0.88 ** np.arange(37)
EXPONENT_TRUE, LOWER_TRUE, UPPER_TRUE, HIGH_TRUE = 3.0, 3.0, 30.0, 0.05
TRUTH = {
    EXPONENT: EXPONENT_TRUE,
    LOWER: LOWER_TRUE,
    UPPER: UPPER_TRUE,
    HIGH: HIGH_TRUE,
    LOW: HIGH_TRUE * (LOWER_TRUE / UPPER_TRUE) ** EXPONENT_TRUE,
}


@dataclass(frozen=True)
class Noise:
    """Standard deviations of ln error.

    Attributes:
        offset: of a whole trajectory; 0 where there is one, since one trajectory can't tell.
        along: of a level, correlated with its neighbours' by `correlation`.
        correlation: from one level to the next.
        measured: independent, and stated as the measurement error.
    """

    offset: float = 0.15
    along: float = 0.2
    correlation: float = 0.6
    measured: float = 0.05


def true_curve(density: np.ndarray, sharpness: float, step: float = 0.0) -> np.ndarray:
    """ln error: both plateaus and the power law, w = 1 / (β · sharpness) at each bend; 1 is a sum of powers.

    A `step` is another form: the power law pauses in its middle, by ± step within a factor of 1.2.
    """
    rate = EXPONENT_TRUE * sharpness
    x = np.log(density)
    falling = np.logaddexp(0, rate * (x - np.log(LOWER_TRUE))) - np.logaddexp(
        0, rate * (x - np.log(UPPER_TRUE))
    )
    pause = step * np.tanh((x - np.log(LOWER_TRUE * UPPER_TRUE) / 2) / np.log(1.2))
    return np.log(HIGH_TRUE) - falling / sharpness + pause


def made_up_states(
    generator: np.random.Generator,
    curves: int,
    trajectories: int,
    sharpness: float,
    noise: Noise,
    window: slice = slice(None),
    step: float = 0.0,
) -> pl.DataFrame:
    """The columns that `fit_regions` reads, of many curves (column `curve`)."""
    density = DENSITIES[window]
    shape = (curves, trajectories, len(density))
    steps = generator.standard_normal(shape)
    for level in range(1, len(density)):
        fresh = np.sqrt(1 - noise.correlation**2) * steps[..., level]
        steps[..., level] = noise.correlation * steps[..., level - 1] + fresh
    offset = (noise.offset if trajectories > 1 else 0.0) * generator.standard_normal(
        (curves, trajectories, 1)
    )
    measured = noise.measured * generator.standard_normal(shape)
    error = np.exp(true_curve(density, sharpness, step) + offset + noise.along * steps + measured)
    curve, trajectory, level = (index.ravel() for index in np.indices(shape))
    return pl.DataFrame(
        {
            "curve": curve,
            "dense_run_id": trajectory.astype(str),
            "parameters_per_spin": density[level],
            "relative_error": error.ravel(),
            "relative_error_error": noise.measured * error.ravel(),
        }
    )


def coverage(found: Regions, curves: int) -> pl.DataFrame:
    """Bias (mean of estimate / truth, logarithmic), spread and coverage of each fitted number.

    Returns:
        value, found (the part of the curves where it was fitted), bias (factor), spread (standard deviation of
        ln estimate), covered (the part of those found).
    """
    truth = pl.DataFrame({"value": list(TRUTH), "truth": list(TRUTH.values())})
    log_ratio = (pl.col("estimate") / pl.col("truth")).log()
    return (
        found.values.join(truth, on="value")
        .group_by("value")
        .agg(
            found=pl.len() / curves,
            bias=log_ratio.median().exp(),
            spread=log_ratio.std(),
            covered=pl.col("truth").is_between("low", "high").mean(),
        )
        .sort("value")
    )


def study(
    seed: int,
    curves: int,
    trajectories: int,
    sharpness: float,
    window: slice = slice(None),
    noise: Noise | None = None,
    step: float = 0.0,
) -> Regions:
    """The fits of many curves of one kind, at 95 %."""
    generator = np.random.default_rng(seed)
    states = made_up_states(generator, curves, trajectories, sharpness, noise or Noise(), window, step)
    return fit_regions(states, QUANTITIES["relative_error"], "curve", confidence=0.95)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regions", description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=int, default=300, help="made-up curves of each kind")
    parser.add_argument("--trajectories", type=int, nargs="+", default=[1, 2, 3, 5, 10])
    arguments = parser.parse_args()
    print(describe_machine())
    for sharpness in (1.0, 3.0):
        for trajectories in arguments.trajectories:
            started = time.perf_counter()
            found = study(1, arguments.curves, trajectories, sharpness)
            seconds = (time.perf_counter() - started) / arguments.curves
            print(f"\nw = 1/({sharpness:g} β), {trajectories} trajectories, {1e3 * seconds:.0f} ms a curve")
            print(
                f"another form noticed {noticed(found):7.1%}, refused {found.refused / arguments.curves:7.1%}"
            )
            _print(coverage(found, arguments.curves))
    print("\nCurves that stop before a plateau: how often a plateau was invented (3 trajectories)")
    for name, window, invented in (
        ("no low-error plateau", slice(13, None), UPPER),
        ("no high-error plateau", slice(0, 24), LOWER),
    ):
        found = study(2, arguments.curves, 3, 1.0, window)
        number = found.values.filter(pl.col("value") == invented).height
        print(f"{name:24} {number / arguments.curves:6.1%}")

    print("\nCurves with a further step (w = 1/(3 β)): another form noticed, refused")
    for step in (0.5, 1.0, 2.0):
        for trajectories in arguments.trajectories:
            found = study(3, arguments.curves, trajectories, 3.0, step=step)
            shares = f"{noticed(found):7.1%} {found.refused / arguments.curves:7.1%}"
            print(f"± {step:g}, {trajectories} trajectories {shares}")


def noticed(found: Regions) -> float:
    """The part of the curves that are said to be of another form, roughly or at all."""
    return found.curves["remark"].str.contains("of this form").mean()


def _print(table: pl.DataFrame) -> None:
    print(f"{'':20} {'found':>7} {'bias':>7} {'spread':>7} {'covered':>8}")
    for row in table.iter_rows(named=True):
        print(
            f"{row['value']:20} {row['found']:7.1%} {row['bias']:7.3f} {row['spread']:7.3f} {row['covered']:8.1%}"
        )


if __name__ == "__main__":
    main()
