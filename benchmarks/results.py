"""The tables of docs/results.md, computed from exports: what a study took, and what it says.

    python -m benchmarks.results [data/finite_size-paper data/toric_code-paper …]

Each study gets what its networks allow: device-hours; errors of dense and of pruned networks; regions; the place
where the state changes; agreement of sizes; tickets tested for equivalence; what a branch back up differs by;
methods compared in pairs. Without names: every export of the
profile `paper` below data/.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path

import polars as pl

from explorer import analysis, captions
from explorer.numbers import interval, plain, with_error
from nqs.config import TransverseFieldIsing
from nqs.mean_field import lowest_product_state
from orchestrator.store import Study, read_study

CONFIDENCE = 0.95
# Two errors whose ratio stays below this count as equally good.
MARGIN = 1.5
# Sizes agree where their errors per spin differ by less.
AGREEMENT = 2.0
# Weights per spin between which errors are averaged, to see a plateau below the error of one measurement.
PLATEAUS = (50.0, 100.0, 200.0)
# Tickets of these weights per spin are compared: the plateau's end and the power law.
WINDOWS = ((5.0, 13.0), (13.0, 40.0))
# Weights per spin between which networks are averaged.
STRETCHES = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 50.0)
# Networks between these weights per spin count as having one.
ONE_WEIGHT = (0.9, 1.1)
# A100 hours of a trajectory with its pre-training in the paper's Table 9, by sweep and side.
PAPER_HOURS = dict(zip(range(4, 11), (4, 5, 6, 10, 13, 16, 20), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", type=Path, help="exports or run directories")
    named = parser.parse_args().studies
    for path in named or sorted(Path("data").glob("*-paper")):
        print_study(read_study(path))


def print_study(study: Study) -> None:
    """All tables of one study, as Markdown."""
    states = analysis.own_masks(analysis.with_quantities(study.states))
    print(f"\n## {study.sweep}, {study.profile}: {states['run_id'].n_unique()} runs, {len(states)} networks")
    _print("Hours of one core", _hours(states, study.sweep))
    for setting, own in _settings(states):
        print(f"\n### {setting}")
        trajectories = own.filter(pl.col("kind") != "ticket")
        by = _told_apart_by(trajectories)
        _print("Relative errors", _errors(trajectories, by))
        regions = analysis.fit_regions(
            trajectories, analysis.QUANTITIES["error_per_spin"], by, confidence=CONFIDENCE
        )
        names = [plain(value) for value in regions.curves[by]]
        _print(f"Regions of the error per spin by {by}", captions.region_table(regions, by, names))
        if by != "width_per_spin":
            _print("Where the state changes", _transitions(own))
            _print("Broken symmetry, |⟨σz⟩| / ⟨|σz|⟩", _broken_symmetry(trajectories, by))
            _print(
                "Errors per spin beside those of states with no weights and with one a spin",
                _few_weights(own),
            )
        if trajectories["side"].n_unique() > 1:
            _print(f"Do sizes agree within a factor of {AGREEMENT:g}", _agreement(trajectories))
        _print("The branch back up minus the way down", _branches(own))
        for window in WINDOWS:
            _print(f"Tickets of {window[0]:g} to {window[1]:g} weights per spin", _tickets(own, window))
    _print("Methods compared within dense networks, ratios of errors", _methods(states))


def _settings(states: pl.DataFrame) -> Iterable[tuple[str, pl.DataFrame]]:
    """Trajectories of one kind of Hamiltonian, network and method, with their dense networks and tickets."""
    setting = ("hamiltonian", "network", "method")
    is_trajectory = pl.col("kind") == "trajectory"
    for names, own in states.filter(is_trajectory).sort(setting).group_by(setting, maintain_order=True):
        of_these = pl.col("trajectory_run_id").is_in(own["trajectory_run_id"].unique().to_list())
        dense = (pl.col("kind") == "dense") & pl.col("run_id").is_in(own["dense_run_id"].unique().to_list())
        yield ", ".join(names), states.filter(of_these | dense)


def _told_apart_by(states: pl.DataFrame) -> str:
    varied = analysis.what_varied(states)
    return next((column for column in ("width_per_spin", "field") if column in varied), "side")


def _hours(states: pl.DataFrame, sweep: str) -> pl.DataFrame:
    is_ticket = pl.col("kind") == "ticket"
    hours = pl.col("wall_seconds") / 3600
    trajectories = pl.col("dense_run_id").filter(~is_ticket).n_unique()
    rows = (
        states.group_by("side", "network", "width_per_spin", "field")
        .agg(
            trajectories=trajectories,
            hours_a_trajectory=hours.filter(~is_ticket).sum() / trajectories,
            tickets=pl.col("run_id").filter(is_ticket).n_unique(),
            hours_of_tickets=hours.filter(is_ticket).sum(),
        )
        .sort("side", "network", "width_per_spin", "field")
    )
    if sweep != "finite_size":
        return rows
    paper = pl.col("side").replace_strict(PAPER_HOURS, default=None, return_dtype=pl.Float64)
    return rows.with_columns(paper_hours=paper, times_less=paper / pl.col("hours_a_trajectory"))


def _errors(states: pl.DataFrame, by: str) -> pl.DataFrame:
    """Of each curve: mean relative errors of its dense networks and of the densest stretches, and the reference's.

    Signed, so that what scatters about zero has a mean of zero. A mean's error is that of the measurements, or of how the
    networks scatter where that is more.
    """
    curve = list(dict.fromkeys(("side", by)))
    dense = pl.col("level") == 0
    stretches = {
        f"{low:g} to {high:g}": ~dense & pl.col("parameters_per_spin").is_between(low, high, closed="right")
        for low, high in pairwise((*PLATEAUS, math.inf))
    }
    means = {name: _mean(chosen).alias(name) for name, chosen in ({"dense": dense} | stretches).items()}
    return (
        states.group_by(curve)
        .agg(
            *means.values(),
            trajectories=pl.col("cluster").filter(~dense).n_unique(),
            uncertainty=pl.col("relative_error_error").filter(dense).mean(),
            method=pl.col("reference_method").first(),
            reference_error=(pl.col("reference_energy_error") / pl.col("reference_energy")).abs().first(),
        )
        .with_columns(pl.col(name).map_elements(_mean_and_error, pl.String) for name in means)
        .sort(curve)
    )


def _mean(chosen: pl.Expr) -> pl.Expr:
    """A struct of the mean relative error of the chosen networks, its standard error, and their number."""
    value, error = (pl.col(name).filter(chosen) for name in ("relative_error", "relative_error_error"))
    # Not weighted: networks with small errors of the energy are measured best, and would draw the mean to theirs.
    measured = (error**2).sum().sqrt() / value.len()
    scatter = (value.std() / value.len().sqrt()).fill_null(0.0)
    return pl.struct(mean=value.mean(), error=pl.max_horizontal(measured, scatter), networks=value.len())


def _mean_and_error(found: dict) -> str | None:
    if not found["networks"]:
        return None
    return f"{with_error(found['mean'], found['error'])} of {found['networks']}"


def _transitions(states: pl.DataFrame) -> pl.DataFrame:
    """The largest step of each criterion, with the change of ⟨|σz|⟩ there, towards sparse."""
    steps, found = analysis.level_steps(states), []
    for criterion in analysis.CRITERIA:
        table = analysis.detect_transitions(states, criterion, CONFIDENCE).filter(
            pl.col("log_density").is_not_null()
        )
        place = pl.struct("parameters_per_spin", "low", "high").map_elements(
            lambda row: interval(row["parameters_per_spin"], row["low"], row["high"]), pl.String
        )
        found.append(
            table.select(
                "side",
                "field",
                criterion=pl.lit(criterion),
                place=place,
                height="height",
                change=pl.struct("side", "field", "log_density").map_elements(
                    partial(_change, steps), pl.Float64
                ),
                **{name: name for name in ("p_value", "trajectories", "envelope_share", "drift_share")},
                verdict="verdict",
            )
        )
    return pl.concat(found)


def _change(steps: pl.DataFrame, peak: dict) -> float:
    """Mean over the trajectories of the change of ⟨|σz|⟩ in the step nearest to a peak."""
    here = steps.filter(
        pl.col("side") == peak["side"], pl.col("field").eq_missing(pl.lit(peak["field"], pl.Float64))
    )
    nearest = here.sort((pl.col("log_density") - peak["log_density"]).abs()).group_by("cluster").first()
    return nearest["observable_change"].mean()


def _broken_symmetry(states: pl.DataFrame, by: str) -> pl.DataFrame:
    """Mean over the networks of a stretch of densities: 0 where σz and −σz are as likely, 1 where one sign has all."""
    share = (pl.col("magnetization_z") / pl.col("abs_magnetization_z")).abs()
    found = states.group_by(_stretch(), by).agg(share.mean()).sort("stretch", by)
    return _with_stretch_names(found.pivot(on=by, index="stretch", values="magnetization_z"))


def _few_weights(states: pl.DataFrame) -> pl.DataFrame:
    """Of each Ising lattice: all spins along x, the lowest product state, and the network that is closest to one weight a spin."""
    rows = []
    pruned = states.filter(pl.col("kind") == "trajectory", pl.col("hamiltonian") == "tfim")
    distance = pl.col("parameters_per_spin").log().abs()
    closest = (
        pruned.sort(distance)
        .group_by("side", "field", "hamiltonian_parameters")
        .first()
        .sort("side", "field")
    )
    for row in closest.iter_rows(named=True):
        if not ONE_WEIGHT[0] <= row["parameters_per_spin"] <= ONE_WEIGHT[1]:
            continue
        hamiltonian = TransverseFieldIsing(**json.loads(row["hamiltonian_parameters"]))
        product = lowest_product_state(hamiltonian)
        above = [
            energy - row["reference_energy"]
            for energy in (-hamiltonian.field * hamiltonian.sites, product.energy)
        ]
        of_no_weights, of_product = (difference / hamiltonian.sites for difference in above)
        rows.append(
            {
                "side": row["side"],
                "field": row["field"],
                "no weights": of_no_weights,
                "product state": of_product,
                "its ⟨σz⟩": float(product.magnetization_z.mean()),
                "network": row["error_per_spin"],
                "its ⟨|σz|⟩": row["abs_magnetization_z"],
                "its n_r / N": row["parameters_per_spin"],
            }
        )
    return pl.DataFrame(rows)


def _agreement(states: pl.DataFrame) -> pl.DataFrame:
    points = analysis.curve_points(
        states, analysis.QUANTITIES["error_per_spin"], confidence=CONFIDENCE
    ).filter(pl.col("series") == analysis.TRAJECTORY)
    return analysis.agreement_windows(analysis.size_agreement(points), AGREEMENT)


def _branches(states: pl.DataFrame) -> pl.DataFrame:
    """Means over trajectories of the energy a spin and of ⟨|σz|⟩, up minus down at the same masks, by stretch of densities."""
    tables = []
    for name, column in (("energy per spin", "energy"), ("⟨|σz|⟩", "abs_magnetization_z")):
        differences = analysis.branch_differences(states, column)
        each = differences.group_by("side", "field", _stretch(), "cluster").agg(pl.col("difference").mean())
        of_stretch = each.group_by("side", "field", "stretch").agg(
            mean=pl.col("difference").mean(),
            error=pl.col("difference").std() / pl.len().sqrt(),
            trajectories=pl.len(),
        )
        tables.append(of_stretch.with_columns(quantity=pl.lit(name)))
    return _with_stretch_names(pl.concat(tables).sort("quantity", "side", "field", "stretch"))


def _methods(states: pl.DataFrame) -> pl.DataFrame:
    """Geometric means over dense networks of a method's error over magnitude pruning's, by stretch of densities."""
    quantity = analysis.QUANTITIES["relative_error"]
    tables = []
    for (network,), own in states.group_by("network", maintain_order=True):
        ratios = analysis.method_ratios(analysis.of_methods(own), quantity, CONFIDENCE)
        logs = ratios.group_by("numerator", _stretch()).agg(
            ratio=pl.col("ratio").log().mean().exp(),
            lowest=pl.col("ratio").min(),
            highest=pl.col("ratio").max(),
            levels=pl.len(),
            dense_networks=pl.col("trajectories").max(),
        )
        tables.append(logs.with_columns(network=pl.lit(network)))
    return _with_stretch_names(pl.concat(tables).sort("network", "numerator", "stretch"))


def _stretch() -> pl.Expr:
    return pl.sum_horizontal(pl.col("parameters_per_spin") > edge for edge in STRETCHES).alias("stretch")


def _with_stretch_names(table: pl.DataFrame) -> pl.DataFrame:
    edges = (0.0, *STRETCHES, float("inf"))
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    name = pl.col("stretch").map_elements(names.__getitem__, pl.String).alias("n_r / N")
    return table.with_columns(name).select("n_r / N", pl.exclude("stretch", "n_r / N"))


def _tickets(states: pl.DataFrame, window: tuple[float, float]) -> pl.DataFrame:
    return analysis.ticket_equivalence(states, window, MARGIN).drop("margin", "reason")


def _print(title: str, table: pl.DataFrame) -> None:
    """A table as Markdown; nothing where it has no row."""
    if table.is_empty():
        return
    print(f"\n{title}\n\n| {' | '.join(map(_cell, table.columns))} |\n|{'---|' * table.width}")
    for row in table.iter_rows():
        print(f"| {' | '.join(_cell(value) for value in row)} |")


def _cell(value: object) -> str:
    if value is None:
        return "–"
    # A bar, as around σz, would end the cell.
    return plain(value) if isinstance(value, float) else str(value).replace("|", "\\|")


if __name__ == "__main__":
    main()
