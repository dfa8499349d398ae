"""The export: joined, documented tables for use without this program, one file a table, Parquet or CSV."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nqs.lattices import Lattice, lattice_of
from nqs.masks import column_degrees, mask_of, unit_distances
from nqs.tasks import LiveWeights
from orchestrator.data_dictionary import EXPORTED, Format, data_dictionary, heading, tables_of
from orchestrator.plan import Plan
from orchestrator.provenance import code_version
from orchestrator.run_directory import StudyError
from orchestrator.store import Study
from orchestrator.table_files import schema_of
from orchestrator.tables import (
    ATTEMPTS,
    MASKS,
    REFERENCES,
    RUNS,
    STATES,
    STEPS,
    TABLES_VERSION,
    WEIGHTS,
    Column,
    Table,
)
from orchestrator.units import Unit, starting_networks, units_of

DICTIONARY = "DATA.md"


def export_study(
    study: Study,
    target: Path,
    format: Format = "parquet",
    kept: Collection[Unit] | None = None,
    steps_every: int = 1,
) -> list[Path]:
    """Write a study's tables, sorted, and their data dictionary; an earlier export of it is replaced.

    CSV has lists as JSON text, nulls as empty fields, times in ISO 8601 and UTC, and no table `weights`.

    Args:
        kept: the networks whose weights are written, see `needed_networks`; None: all. `masks` has all the same.
        steps_every: of a level's training steps those that are multiples of it are written, ten a decade of those before
            the first multiple, and the last.

    Returns:
        The files, the data dictionary last.

    Raises:
        StudyError: the target is a file, holds something else or cannot be written, or the study has a
            damaged file.
    """
    try:
        return _export(study, target, format, kept, steps_every)
    except OSError as error:
        raise StudyError(f"{target} cannot be written: {error.strerror}") from None


def needed_networks(plan: Plan, study: Study) -> set[Unit]:
    """Networks that a run of the plan starts from, and the last of each trajectory, which more levels would start from."""
    needed = {
        network
        for run_id, job in plan.jobs.items()
        for unit in units_of(run_id, job)
        for network in starting_networks(unit, job)
        if network.run_id != run_id
    }
    last = study.states.filter(kind="trajectory").group_by("run_id").agg(pl.col("level").max())
    return needed | {Unit(*each) for each in last.iter_rows()}


def _export(
    study: Study, target: Path, format: Format, kept: Collection[Unit] | None, steps_every: int
) -> list[Path]:
    _check_target(study, target, format)
    weights = study.all_weights.sort("run_id", "level", "layer")
    masks = pl.concat([mask_statistics(weights, study.runs), study.masks]).unique(MASKS.key, keep="first")
    states = study.states
    if kept is not None:
        key = ["run_id", "level"]
        keys = pl.DataFrame([*kept], schema_of(STATES.columns[:2]), orient="row")
        weights = weights.join(keys, on=key, how="semi", maintain_order="left")
        kept_here = pl.struct(key).is_in(pl.lit(keys.select(pl.struct(key)).to_series()).implode())
        states = states.with_columns(
            weights_left_out=pl.when(kept_here).then("weights_left_out").otherwise(pl.lit(True))
        )
    frames = {
        RUNS: study.runs,
        STATES: states,
        STEPS: _every(study.steps, steps_every).sort(STEPS.key),
        WEIGHTS: weights,
        MASKS: masks.sort(MASKS.key),
        REFERENCES: study.references,
        ATTEMPTS: study.attempts,
    }
    if study.problems:
        raise StudyError(study.problems[0])
    target.mkdir(parents=True, exist_ok=True)
    # First: its heading tells the next export whose files these are.
    dictionary = target / DICTIONARY
    _replace(dictionary, lambda aside: aside.write_text(data_dictionary(study, format), encoding="utf-8"))
    written = [_write(study, target, table, frames[table], format) for table in tables_of(format)]
    return [*written, dictionary]


def _every(steps: pl.DataFrame, number: int) -> pl.DataFrame:
    step, level = pl.col("step"), ["run_id", "level"]
    # For axes in logarithms: ten a decade of the steps before the first multiple.
    decade = (10 * step.log10()).floor() != (10 * (step - 1).log10()).floor()
    return steps.filter((step % number == 0) | ((step < number) & decade) | (step == step.max().over(level)))


def _write(study: Study, target: Path, table: Table, frame: pl.DataFrame, format: Format) -> Path:
    path = target / f"{table.name}.{format}"
    if format == "csv":
        _replace(path, _with_lists_as_json(frame).write_csv)
        return path
    provenance = {
        "sweep": study.sweep,
        "profile": study.profile,
        "tables_version": str(TABLES_VERSION),
        "code_version": code_version(),
        "created_at": datetime.now(UTC).isoformat(),
    } | ({"only": study.only} if study.only else {})
    columns = frame.to_arrow().cast(_arrow_schema(EXPORTED[table], provenance))
    floats, others = _leaves(columns.schema)
    # Their bytes sorted by significance, floats are a quarter smaller; every reader of the format knows it.
    options = {"compression": "zstd", "use_byte_stream_split": floats, "use_dictionary": others}
    _replace(path, lambda aside: pq.write_table(columns, aside, **options))
    return path


def _leaves(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """Parquet's names of the columns of floats, lists of them included, and of the other columns."""
    floats, others = [], []
    for field in schema:
        is_list = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
        kind, name = (
            (field.type.value_type, f"{field.name}.list.element") if is_list else (field.type, field.name)
        )
        (floats if pa.types.is_floating(kind) else others).append(name)
    return floats, others


def _with_lists_as_json(frame: pl.DataFrame) -> pl.DataFrame:
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    # JSON knows no NaN.
    plain = frame.select(pl.col(lists).list.eval(pl.element().fill_nan(None)))
    return frame.with_columns(
        pl.Series(
            column.name, [None if row is None else json.dumps(row) for row in column.to_list()], pl.String
        )
        for column in plain
    )


def mask_statistics(weights: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """The table `masks`: one row for each row of `weights`, in its order.

    Args:
        weights: the table `weights`.
        runs: the table `runs`, which tells the lattice; layers of a run that it lacks are described by
            their number of live weights alone.
    """
    lattices = {
        run_id: (sites, lattice_of(hamiltonian, sites, side, boundary))
        for run_id, hamiltonian, sites, side, boundary in runs.select(
            "run_id", "hamiltonian", "sites", "side", "boundary"
        ).iter_rows()
    }
    rows = []
    # Column by column: rows of Python lists took most of the time.
    indices, values = weights["indices"], weights["values"]
    for number, (run_id, level, layer, shape) in enumerate(
        weights.select("run_id", "level", "layer", "shape").iter_rows()
    ):
        live = LiveWeights(tuple(shape), indices[number].to_numpy(), values[number].to_numpy())
        row = {
            "run_id": run_id,
            "level": level,
            "layer": layer,
            "live_weights": int((live.values != 0).sum()),
        }
        sites, lattice = lattices.get(run_id, (None, None))
        if layer == "hidden" and len(shape) == 2 and shape[0] == sites:
            row |= _of_hidden(mask_of(live), lattice)
        rows.append(row)
    schema = pl.from_arrow(MASKS.schema.empty_table()).schema
    return pl.DataFrame(rows, schema=schema).fill_nan(None)


def _of_hidden(mask: np.ndarray, lattice: Lattice | None) -> dict:
    """The columns of `masks` from `units` on; those of the distances only where the lattice is known."""
    units, spins = column_degrees(mask), column_degrees(mask.T)
    live = mask.shape[1] - units.dead
    columns = {
        "units": mask.shape[1],
        "live_units": live,
        "dead_units": units.dead,
        "expected_dead_units": units.expected_dead,
        "dead_spins": spins.dead,
        "expected_dead_spins": spins.expected_dead,
        "unit_degree_mean": units.mean,
        "unit_degree_variance": units.variance,
        "expected_unit_degree_variance": units.expected_variance,
        "live_unit_degree_mean": int(units.degrees.sum()) / live if live else None,
        "live_unit_degree_variance": units.live_variance,
        "expected_live_unit_degree_variance": units.expected_live_variance,
        "spin_degree_mean": spins.mean,
        "spin_degree_variance": spins.variance,
        "expected_spin_degree_variance": spins.expected_variance,
    }
    if lattice is None:
        return columns
    distances = unit_distances(mask, lattice)
    return columns | {
        "units_with_pairs": distances.units,
        "pair_distance": distances.pair,
        "expected_pair_distance": distances.expected_pair,
        "pair_distance_spread": distances.pair_spread,
        "weighted_pair_distance": distances.weighted_pair,
        "range": distances.range,
        "expected_range": distances.expected_range,
    }


def _check_target(study: Study, target: Path, format: Format) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise StudyError(f"{target} is a file; --export must name a new or an exported directory")
    files = {DICTIONARY, *(f"{table.name}.{format}" for table in tables_of(format))}
    # What an export that was killed leaves behind; this one writes over it.
    entries = {entry.name for entry in target.iterdir()} - {f".{name}.partial" for name in files}
    foreign = sorted(entries - files)
    if foreign:
        raise StudyError(
            f"{target} holds something else ({foreign[0]!r}); --export must name a new directory"
        )
    if entries and not _heading_of(target).startswith(heading(study)):
        raise StudyError(
            f"{target} holds something else than an export of {study.sweep!r} at {study.profile!r}; "
            "--export must name a new directory"
        )


def _heading_of(target: Path) -> str:
    """What the data dictionary starts with; "" where there is none."""
    try:
        return (target / DICTIONARY).read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _arrow_schema(columns: Iterable[Column], provenance: dict[str, str]) -> pa.Schema:
    return pa.schema([column.arrow for column in columns], metadata=provenance)


def _replace(path: Path, write) -> None:
    aside = path.with_name(f".{path.name}.partial")
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
