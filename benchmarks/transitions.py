"""Detection of transitions on made-up trajectories whose boundaries are known: bias, coverage, false alarms, verdicts.

    python -m benchmarks.transitions --sets 400

An order parameter φ changes sign at a boundary ln (n_r / N) = x_i of each trajectory, x_i normal around x with a spread
τ; φ = tanh((ln n_r/N − x_i) / s), a jump where s = 0. The step between two levels has −ln F / N = background +
(Δφ)² / 8, times a lognormal factor. Levels are those of a pruning ratio of 0.12 from 64 weights a spin, and x is
uniform over several of their steps. What is printed stands in docs/analysis.md.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import polars as pl

from explorer.analysis import detect_transitions
from explorer.analysis.transitions import NO_JUMP, VERDICTS

LEVELS, WIDTH = 38, -float(np.log(0.88))
SITES = 16
# A transition is worth this much of the energy per spin, and what a network misses otherwise is a tenth of it.
ENERGY_OF_JUMP = 0.05


@dataclass(frozen=True)
class Study:
    """What is made up.

    Attributes:
        trajectories: how many.
        spread: τ, of the boundaries of trajectories, in ln n_r.
        smoothness: s, in ln n_r; 0 is a jump.
        noise: standard deviation of ln (−ln F / N).
        slope: of ln background towards sparse, per ln n_r.
        jumping: how many trajectories have the transition; None: all. The others stay in the dense state, and lower.
        degrees: of Student's t for the noise; None: normal.
        drift: of the training energy, in units of its error.
    """

    trajectories: int = 3
    spread: float = 0.1
    smoothness: float = 0.1
    noise: float = 0.3
    slope: float = 1.0
    jumping: int | None = None
    degrees: int | None = None
    drift: float = 0.0


def made_up_states(study: Study, boundary: float, generator: np.random.Generator) -> pl.DataFrame:
    """Networks of one side, as `with_quantities` gives them (the columns that detection reads)."""
    log_density = np.log(64) - WIDTH * np.arange(LEVELS + 1)
    frames = [
        _trajectory(study, place, boundary, log_density, generator) for place in range(study.trajectories)
    ]
    return pl.concat(frames)


def _trajectory(
    study: Study, place: int, boundary: float, log_density: np.ndarray, generator: np.random.Generator
) -> pl.DataFrame:
    own = boundary + study.spread * generator.standard_normal()
    distance = log_density - own
    order = np.tanh(distance / study.smoothness) if study.smoothness else np.sign(distance)
    if study.jumping is not None and place >= study.jumping:
        order = np.ones_like(order)
    deviations = (
        generator.standard_normal(LEVELS)
        if study.degrees is None
        else generator.standard_t(study.degrees, LEVELS)
    )
    background = np.exp(-9 - study.slope * log_density[1:])
    losses = (background + np.diff(order) ** 2 / 8) * np.exp(study.noise * deviations)
    count = LEVELS + 1
    levels = np.arange(count)
    magnetization = 0.4 + 0.2 * order + 1e-4 * generator.standard_normal(count)
    energies = -3.2 + ENERGY_OF_JUMP * (1 - order) / 2 + 0.002 * (np.log(64) - log_density)
    return pl.DataFrame(
        {
            "kind": ["dense", *["trajectory"] * LEVELS],
            "series": "trajectory",
            "run_id": [f"d{place}", *[f"t{place}"] * LEVELS],
            "dense_run_id": f"d{place}",
            "cluster": [f"d{place}", *[f"t{place}"] * LEVELS],
            "side": pl.Series([4] * count, dtype=pl.Int32),
            "field": 3.0,
            "sites": SITES,
            "level": pl.Series(levels, dtype=pl.Int32),
            "parameters_per_spin": np.exp(log_density),
            "energy": SITES * energies + 1e-3 * generator.standard_normal(count),
            "energy_error": 0.0,
            "error_per_spin": energies + 3.2,
            "error_per_spin_error": 0.0,
            "magnetization_x": 1 - magnetization,
            "magnetization_x_error": 1e-4,
            "abs_magnetization_z": magnetization,
            "abs_magnetization_z_error": 1e-4,
            "log_fidelity_per_spin": [None, *losses],
            "log_fidelity_per_spin_error": 0.0,
            "energy_drift": 1e-3 * (study.drift + generator.standard_normal(count)),
            "energy_drift_error": 1e-3,
            "steps": 1000,
        }
    )


@dataclass(frozen=True)
class Outcome:
    """Of many made-up studies of one kind.

    Attributes:
        bias, scatter: mean and standard deviation of the place's error, in ln n_r.
        coverage: part of the intervals that hold the boundary.
        detected: part with any verdict but "no jump".
        verdicts: how often each verdict was given.
    """

    bias: float
    scatter: float
    coverage: float
    detected: float
    verdicts: dict[str, int]


def outcome_of(
    study: Study, sets: int, criterion: str = "log_fidelity_per_spin", confidence: float = 0.95, seed: int = 0
) -> Outcome:
    """Detect in so many made-up studies, whose boundaries are uniform between 1.8 and 5 weights a spin."""
    generator = np.random.default_rng(seed)
    errors, covered, verdicts = [], 0, []
    for _ in range(sets):
        boundary = np.log(3) + generator.uniform(-0.5, 0.5)
        (row,) = detect_transitions(
            made_up_states(study, boundary, generator), criterion, confidence
        ).iter_rows(named=True)
        errors.append(row["log_density"] - boundary)
        covered += np.log(row["low"]) <= boundary <= np.log(row["high"])
        verdicts.append(row["verdict"])
    counts = {verdict: verdicts.count(verdict) for verdict in VERDICTS}
    detected = 1 - counts[NO_JUMP] / sets
    return Outcome(float(np.mean(errors)), float(np.std(errors)), covered / sets, detected, counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=400, help="made-up studies of each kind")
    sets = parser.parse_args().sets
    started = time.perf_counter()
    print(f"{sets} sets each; ln n_r; one level step is {WIDTH:.3f}\n")
    print("criterion               n  spread  smooth   bias   scatter  coverage  detected")
    for criterion in ("log_fidelity_per_spin", "susceptibility_per_spin", "jump"):
        for trajectories in (2, 3, 5) if criterion == "log_fidelity_per_spin" else (3,):
            for spread in (0.0, 0.05, 0.13, 0.4):
                for smoothness in (0.0, 0.1, 0.3):
                    study = Study(trajectories, spread, smoothness)
                    found = outcome_of(study, sets, criterion)
                    print(
                        f"{criterion:<23} {trajectories}  {spread:6.2f}  {smoothness:6.1f}  {found.bias:+.4f}  "
                        f"{found.scatter:.4f}  {found.coverage:8.1%}  {found.detected:8.1%}"
                    )
    print("\nno transition: false alarms at 5 %\nn  slope  noise  degrees  false alarms")
    for trajectories in (1, 3):
        for slope, noise, degrees in (
            (0, 0.3, None),
            (1, 0.3, None),
            (3, 0.3, None),
            (0, 1.0, None),
            (0, 0.3, 4),
        ):
            study = Study(trajectories, noise=noise, slope=slope, degrees=degrees, jumping=0)
            found = outcome_of(study, sets)
            print(f"{trajectories}  {slope:5}  {noise:5}  {degrees or 'normal':>7}  {found.detected:8.1%}")
    print("\nverdicts")
    kinds = {
        "three of three jump": Study(),
        "one of three jumps": Study(jumping=1, smoothness=0.0),
        "three of three, still falling": Study(drift=-30),
        "none jumps": Study(jumping=0),
    }
    for name, study in kinds.items():
        print(f"{name:<31}", outcome_of(study, sets).verdicts)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
