"""Do finite-size collapses find known exponents, and how often do their 95 % intervals cover?

    python -m benchmarks.collapse --sets 200 --processes 2

Made-up points of five sizes, 20 control parameters each, with x_c, a and b of `TRUTH` and noise of several kinds;
then the square-lattice Ising model, whose exponents are known exactly, by a Monte Carlo of our own; then the time
of one fit of 7 sizes with 60 points. Prints a table of each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from benchmarks.ising import CRITICAL_TEMPERATURE, magnetisation_points
from benchmarks.machine import describe_machine
from explorer.analysis.collapse import CONTINUOUS, FIRST_ORDER, Collapse, NoCollapse, ScalingForm, collapse
from explorer.analysis.collapse_intervals import BY_CLUSTERS, BY_NOISE, bootstrapped
from explorer.analysis.collapse_systematics import collapse_choices, compare_forms, systematic_errors

SIDES, POINTS = (4, 5, 6, 8, 10), 20
TRUTH = {"critical": 10.0, "a": 1.0, "b": -0.3}
FIRST_ORDER_TRUTH = {"critical": 10.0, "a": 2.0, "b": 0.0}
MEASURED, SCATTER = 0.02, 0.03  # of a scaling function that rises by one
REFERENCE_SIDE = 7.0  # where scaled and measured units agree


def offsets(random: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The whole trajectory is shifted."""
    return np.full(len(x), random.standard_normal())


def drifts(random: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """An Ornstein–Uhlenbeck process along the trajectory, of correlation length 4 in a window of 10."""
    return np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(x, x)) / 4)) @ random.standard_normal(len(x))


def waves(random: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """One wave of random phase across the window: what most resembles a shift of x_c."""
    return random.standard_normal() * np.sin(x / 2) + random.standard_normal() * np.cos(x / 2)


@dataclass(frozen=True)
class Noise:
    """One kind of made-up data.

    Attributes:
        trajectories: of each side; 0 for points that are independent, without a column `cluster`.
        deviation: of a trajectory, with variance one at every x.
        stated: whether the points come with their errors.
        middle: X at which the scaling function rises; 0 is the critical point.
    """

    trajectories: int = 0
    deviation: Callable[[np.random.Generator, np.ndarray], np.ndarray] = offsets
    stated: bool = True
    middle: float = 0.0


KINDS = {
    "independent": Noise(),
    "independent, errors not given": Noise(stated=False),
    "independent, f not centred": Noise(middle=2.0),
    "offsets, 1 trajectory": Noise(1),
    "offsets, 2": Noise(2),
    "offsets, 3": Noise(3),
    "offsets, 10": Noise(10),
    "drifts, 1 trajectory": Noise(1, drifts),
    "drifts, 2": Noise(2, drifts),
    "drifts, 3": Noise(3, drifts),
    "drifts, 10": Noise(10, drifts),
    "waves, 1 trajectory": Noise(1, waves),
    "waves, 5": Noise(5, waves),
}


def made_up_points(
    random: np.random.Generator,
    noise: Noise,
    truth: dict[str, float] = TRUTH,
    sides=SIDES,
    points: int = POINTS,
) -> pl.DataFrame:
    """side, x, y, y_error (unless not stated), cluster (unless independent)."""
    x = np.linspace(truth["critical"] - 4, truth["critical"] + 6, points)
    tables = []
    for side in sides:
        size = side / REFERENCE_SIDE
        scaled = (x - truth["critical"]) * size ** truth["a"]
        curve = 0.2 + (1 + np.tanh((scaled - noise.middle) / 2.5)) / 2
        for trajectory in range(max(noise.trajectories, 1)):
            deviation = SCATTER * noise.deviation(random, x) if noise.trajectories else 0.0
            y = size ** truth["b"] * (curve + deviation) + MEASURED * random.standard_normal(points)
            columns = {"side": side, "x": x, "y": y, "y_error": MEASURED, "cluster": f"{side}-{trajectory}"}
            tables.append(pl.DataFrame(columns))
    left_out = [*([] if noise.stated else ["y_error"]), *([] if noise.trajectories else ["cluster"])]
    return pl.concat(tables).drop(left_out)


def intervals(points: pl.DataFrame, form: ScalingForm, resamples: int, seed: int) -> list[Collapse]:
    """The fit with each kind of interval that its data allow; none where there is no fit."""
    fit = collapse(points, value="y", control="x", form=form)
    if isinstance(fit, NoCollapse):
        return []
    fits = [fit]
    if resamples:
        fits.append(bootstrapped(fit, resamples, seed=seed, method=BY_NOISE))
        if "cluster" in points.columns and min(fit.clusters.values()) > 1:
            fits.append(bootstrapped(fit, resamples, seed=seed, method=BY_CLUSTERS))
    return fits


def outcomes(kind: str, resamples: int, form: ScalingForm, truth: dict[str, float], seed: int) -> list[dict]:
    """One row for each kind of interval and fitted number of one made-up set."""
    random = np.random.default_rng([list(KINDS).index(kind), seed])
    points = made_up_points(random, KINDS[kind], truth)
    rows = []
    for fit in intervals(points, form, resamples, seed):
        for name in form.free:
            found = getattr(fit, name)
            pull = (found.value - truth[name]) / found.error
            row = {
                "kind": kind,
                "interval": fit.interval,
                "parameter": name,
                "pull": pull,
                "error": found.error,
            }
            rows.append(row | {"covered": found.low <= truth[name] <= found.high, "quality": fit.quality})
    return rows


def coverage(
    kind: str,
    sets: int,
    resamples: int = 0,
    form: ScalingForm = CONTINUOUS,
    truth: dict[str, float] = TRUTH,
    map_sets: Callable = map,
) -> pl.DataFrame:
    """How often intervals cover, by kind of interval and parameter.

    Returns:
        kind, interval, parameter, fits (sets that were fitted), coverage (share of 95 % intervals), bias (mean of
        (fitted − true) / error), spread (standard deviation of that; 1 where errors are right), error (mean),
        quality (mean of S).
    """
    rows = map_sets(partial(outcomes, kind, resamples, form, truth), range(sets))
    return (
        pl.DataFrame([row for of_set in rows for row in of_set])
        .group_by("kind", "interval", "parameter", maintain_order=True)
        .agg(
            fits=pl.len(),
            coverage=pl.col("covered").mean(),
            bias=pl.col("pull").mean(),
            spread=pl.col("pull").std(),
            error=pl.col("error").mean(),
            quality=pl.col("quality").mean(),
        )
    )


def _print_coverage(table: pl.DataFrame) -> None:
    for (kind, interval), rows in table.group_by("kind", "interval", maintain_order=True):
        cells = [
            f"{row['coverage']:.1%} ({row['bias']:+.2f}, {row['spread']:.2f})"
            for row in rows.iter_rows(named=True)
        ]
        fits, quality = rows["fits"][0], rows["quality"][0]
        print(f"| {kind} | {interval} | {fits} | {' | '.join(cells)} | {quality:.2f} |", flush=True)


def _print_ising(chains: int, sweeps: int) -> None:
    exact = {"magnetisation": -1 / 8, "susceptibility": 7 / 4, "binder": 0.0}
    sides, positions = (8, 12, 16, 24, 32, 48, 64), np.linspace(-2, 2, 13)
    started = time.perf_counter()
    points = magnetisation_points(np.random.default_rng(2), sides, positions, chains, sweeps)
    print(f"\nIsing, L = 8 … 64, {chains} chains of {sweeps} sweeps, {time.perf_counter() - started:.0f} s")
    print(f"exact: T_c = {CRITICAL_TEMPERATURE:.5f}, a = 1, b = {exact}")
    print("\n| A | L ≥ | T_c | a | b | S |\n|---|---|---|---|---|---|")
    fits = {}
    for name in exact:
        for smallest in (8, 12, 16):
            fit = collapse(points, value=name, control="temperature", smallest_side=smallest)
            if isinstance(fit, NoCollapse):
                print(f"| {name} | {smallest} | {fit.reason} |")
                continue
            numbers = (f"{one.value:.4f} ± {one.error:.4f}" for one in (fit.critical, fit.a, fit.b))
            print(f"| {name} | {smallest} | {' | '.join(numbers)} | {fit.quality:.2f} |")
            fits.setdefault(name, fit)
    with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=200, float_precision=4):
        for name, fit in fits.items():
            print(f"\n{name}, L ≥ 8", systematic_errors(collapse_choices(fit)), compare_forms(fit), sep="\n")


def _print_times() -> None:
    points = made_up_points(np.random.default_rng(3), Noise(5), sides=range(4, 11), points=60)
    started = time.process_time()
    fit = collapse(points, value="y", control="x")
    fitted = time.process_time()
    bootstrapped(fit, 200, seed=0, method=BY_CLUSTERS)
    refitted = time.process_time()
    print(
        f"\n7 sizes × 60 points: fit {fitted - started:.2f} s CPU, 200 refits {refitted - fitted:.1f} s CPU"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=200, help="made-up data sets of each kind")
    parser.add_argument("--resamples", type=int, default=50, help="refits of each bootstrap; 0 for none")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--chains", type=int, default=32, help="Monte Carlo chains at each temperature")
    parser.add_argument("--sweeps", type=int, default=400, help="of each chain")
    asked = parser.parse_args()
    print(describe_machine())
    _print_times()
    _print_ising(asked.chains, asked.sweeps)
    print(
        "\n| noise | interval | fits | x_c: covered (bias, spread) | a | b | S |\n|---|---|---|---|---|---|---|"
    )
    # Polars has threads, which a forked process would wait for in vain.
    with ProcessPoolExecutor(asked.processes, multiprocessing.get_context("spawn")) as pool:
        map_sets = partial(pool.map, chunksize=5)
        for kind in KINDS:
            _print_coverage(coverage(kind, asked.sets, asked.resamples, map_sets=map_sets))
        table = coverage("offsets, 3", asked.sets, asked.resamples, FIRST_ORDER, FIRST_ORDER_TRUTH, map_sets)
        print("\nFirst order, a = 2 and b = 0 held:")
        _print_coverage(table)


if __name__ == "__main__":
    main()
