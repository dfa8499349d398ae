"""The export: joined, documented Parquet tables for use without this program, one file a table."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.provenance import code_version
from orchestrator.run_directory import StudyError
from orchestrator.store import JOINED_RUNS, JOINED_STATES, Study
from orchestrator.tables import ATTEMPTS, REFERENCES, RUNS, STATES, STEPS, TABLES_VERSION, WEIGHTS, Column

DICTIONARY = "DATA.md"
_TABLES = {
    RUNS: JOINED_RUNS,
    STATES: JOINED_STATES,
    STEPS: STEPS.columns,
    WEIGHTS: WEIGHTS.columns,
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
    frames = {
        RUNS: study.runs,
        STATES: study.states,
        STEPS: study.steps.sort("run_id", "level", "step"),
        WEIGHTS: study.all_weights.sort("run_id", "level", "layer"),
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
    }
    written = []
    for table, frame in frames.items():
        path = target / f"{table.name}.parquet"
        columns = frame.to_arrow().cast(_arrow_schema(_TABLES[table], provenance))
        _replace(path, lambda aside, columns=columns: pq.write_table(columns, aside, compression="zstd"))
        written.append(path)
    _replace(target / DICTIONARY, lambda aside: aside.write_text(data_dictionary(study), encoding="utf-8"))
    return [*written, target / DICTIONARY]


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
    preface = (
        "Energies are totals in units of J, magnetisations are per spin, `_error` is one standard error. "
        "Made by the orchestrator's `--export`; each file's footer has its provenance and each column's "
        "description."
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
