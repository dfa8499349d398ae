"""The export: joined, documented Parquet tables for use without this program, one file a table."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nqs.masks import Lattice, column_degrees, lattice_of, mask_of, unit_distances
from nqs.tasks import LiveWeights
from orchestrator.provenance import code_version
from orchestrator.run_directory import StudyError
from orchestrator.store import JOINED_RUNS, JOINED_STATES, Study
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
)

DICTIONARY = "DATA.md"
_TABLES = {
    RUNS: JOINED_RUNS,
    STATES: JOINED_STATES,
    STEPS: STEPS.columns,
    WEIGHTS: WEIGHTS.columns,
    MASKS: MASKS.columns,
    REFERENCES: REFERENCES.columns,
    ATTEMPTS: ATTEMPTS.columns,
}
_FILES = {f"{table.name}.parquet" for table in _TABLES} | {DICTIONARY}
# What an export that was killed leaves behind; the next one writes over it.
_PARTIAL = {f".{name}.partial" for name in _FILES}


def export_study(study: Study, target: Path) -> list[Path]:
    """Write a study's tables and their data dictionary; an earlier export of it is replaced.

    Raises:
        StudyError: the target is a file, holds something else or cannot be written, or the study has a
            damaged file.
    """
    try:
        return _export(study, target)
    except OSError as error:
        raise StudyError(f"{target} cannot be written: {error.strerror}") from None


def _export(study: Study, target: Path) -> list[Path]:
    _check_target(study, target)
    weights = study.all_weights.sort("run_id", "level", "layer")
    frames = {
        RUNS: study.runs,
        STATES: study.states,
        STEPS: study.steps.sort("run_id", "level", "step"),
        WEIGHTS: weights,
        MASKS: mask_statistics(weights, study.runs),
        REFERENCES: study.references,
        ATTEMPTS: study.attempts,
    }
    if study.problems:
        raise StudyError(study.problems[0])
    target.mkdir(parents=True, exist_ok=True)
    provenance = {
        "sweep": study.sweep,
        "profile": study.profile,
        "tables_version": str(TABLES_VERSION),
        "code_version": code_version(),
        "created_at": datetime.now(UTC).isoformat(),
    } | ({"only": study.only} if study.only else {})
    written = []
    for table, frame in frames.items():
        path = target / f"{table.name}.parquet"
        columns = frame.to_arrow().cast(_arrow_schema(_TABLES[table], provenance))
        _replace(path, lambda aside, columns=columns: pq.write_table(columns, aside, compression="zstd"))
        written.append(path)
    _replace(target / DICTIONARY, lambda aside: aside.write_text(data_dictionary(study), encoding="utf-8"))
    return [*written, target / DICTIONARY]


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


def _check_target(study: Study, target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise StudyError(f"{target} is a file; --export must name a new or an exported directory")
    entries = {entry.name for entry in target.iterdir()} - _PARTIAL
    foreign = sorted(entries - _FILES)
    if foreign:
        raise StudyError(
            f"{target} holds something else ({foreign[0]!r}); --export must name a new directory"
        )
    if not entries:
        return
    try:
        earlier = pl.read_parquet_metadata(target / "runs.parquet")
    except (OSError, pl.exceptions.PolarsError):
        earlier = {}
    if (earlier.get("sweep"), earlier.get("profile")) != (study.sweep, study.profile):
        raise StudyError(
            f"{target} holds something else than an export of {study.sweep!r} at {study.profile!r}; "
            "--export must name a new directory"
        )


def _arrow_schema(columns: Iterable[Column], provenance: dict[str, str]) -> pa.Schema:
    fields = [pa.field(c.name, c.type, metadata={"description": c.description}) for c in columns]
    return pa.schema(fields, metadata=provenance)


def _replace(path: Path, write) -> None:
    aside = path.with_name(f".{path.name}.partial")
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def data_dictionary(study: Study) -> str:
    """The columns of every table in words, generated from the schemas."""
    part = f" Of the runs for which `{study.only}` alone, and their parents." if study.only else ""
    preface = (
        "Energies are totals in units of J, magnetisations are per spin, `_error` is one standard error. "
        "Made by the orchestrator's `--export`; each file's footer has its provenance and each column's "
        f"description.{part}"
    )
    sections = [f"# {study.sweep}, profile {study.profile}\n\n{preface}\n"]
    for table, columns in _TABLES.items():
        rows = "\n".join(f"| {c.name} | {c.type} | {c.description.replace('|', '∣')} |" for c in columns)
        row = {RUNS: "a run, finished or not", STATES: f"{STATES.row}, with its run and its errors"}
        sections.append(
            f"## {table.name}.parquet\n\nA row is {row.get(table, table.row)}. Key: {', '.join(table.key)}.\n\n"
            f"| column | type | meaning |\n|---|---|---|\n{rows}\n"
        )
    return "\n".join(sections)
