"""Every column of every table in words, from the schemas: an export's DATA.md, and docs/data_dictionary.md.

    python -m orchestrator.data_dictionary

writes the page of docs/ anew, after a column was added or explained otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa

from orchestrator.provenance import code_version
from orchestrator.store import JOINED_RUNS, JOINED_STATES, Study
from orchestrator.tables import (
    ATTEMPTS,
    MASKS,
    REFERENCES,
    RUN_FIELDS,
    RUNS,
    STATES,
    STEPS,
    TABLES,
    WEIGHTS,
    Column,
    Table,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data_dictionary.md"
# What an export has of each table.
EXPORTED = {
    RUNS: JOINED_RUNS,
    STATES: JOINED_STATES,
    STEPS: STEPS.columns,
    WEIGHTS: WEIGHTS.columns,
    MASKS: MASKS.columns,
    REFERENCES: REFERENCES.columns,
    ATTEMPTS: ATTEMPTS.columns,
}
_EXPORTED_ROWS = {RUNS: "a run, finished or not", STATES: f"{STATES.row}, with its run and its errors"}
# The order of rows, where it is not that of the key.
_ORDERS = {
    RUNS: "the sweep, parents first",
    STATES: "kind, side, run_id, level",
    ATTEMPTS: "at, attempt",
    REFERENCES: "hamiltonian, side, field, parity, how far it is trusted",
}
# Where a run directory has the rows, if not in a file for each level.
_FILES = {
    RUNS: "`tables/runs/<run_id>.parquet`",
    REFERENCES: "`tables/references/<id>.parquet`, of a DMRG series `<id>.<level>.parquet`; these ids start with e",
    ATTEMPTS: "`tables/attempts/<run_id>.<level>.<attempt>.parquet`",
    MASKS: "exports; in a run directory those alone of networks whose weights an export left out before a --merge",
}

Format = Literal["parquet", "csv"]
NO_WEIGHTS = (
    "The table weights is in exports as Parquet alone: as text, a row for each weight, it would be far larger than "
    "all the others."
)
_CONVENTIONS = (
    "Energies are totals in units of J, magnetisations are per spin, `_error` is one standard error. "
    "A column without a unit is a text, a count or a number without dimension."
)


def tables_of(format: Format) -> list[Table]:
    """The tables that an export has in a format."""
    return [table for table in EXPORTED if format == "parquet" or table is not WEIGHTS]


def heading(study: Study) -> str:
    """The first line of an export's dictionary, which tells whose export it is."""
    return f"# {study.sweep}, profile {study.profile}\n"


def data_dictionary(study: Study, format: Format = "parquet") -> str:
    """An export's DATA.md: the columns of its files in words."""
    preface = f"{_CONVENTIONS} Made by the orchestrator's `--export`"
    if format == "parquet":
        preface += "; each file's footer has its provenance and each column's description."
    else:
        preface += (
            f", {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, version {code_version()}. Nulls are empty fields, lists are "
            f"JSON, times are ISO 8601 in UTC. {NO_WEIGHTS}"
        )
    if study.only:
        preface += f" Of the runs for which `{study.only}` alone, and their parents."
    sections = [f"{heading(study)}\n{preface}\n"]
    for table in tables_of(format):
        row = _EXPORTED_ROWS.get(table, table.row)
        sections.append(
            f"## {table.name}.{format}\n\nA row is {row}. Key: {_key(table)}. Sorted by {_order(table)}.\n\n"
            + _columns(EXPORTED[table], format)
        )
    return "\n".join(sections)


def page() -> str:
    """docs/data_dictionary.md: what a run directory has, and what an export has beyond it."""
    sections = [
        f"""# Data dictionary

Made from the schemas in `orchestrator/tables.py` by `python -m orchestrator.data_dictionary`; a test holds that it is
up to date. The same stands in an export's `DATA.md`, in the footer of every Parquet file, and on the app's page “Data
and export”.

{_CONVENTIONS} Types are Arrow's; every column may be null but those of the key.

A run directory has `tables/<table>/` with small files, most of them one a level, and after a compaction
`compacted-<number>.parquet`; of rows with one key the last counts, and a level counts once it is in `states`
([architecture](architecture.md)). `orchestrator.store.read_study` reads all that, joined as an export is. An export has
`<table>.parquet`, or `<table>.csv` without the weights.

Tables join on `run_id` and `level`; a reference energy on `hamiltonian` and `hamiltonian_parameters`.
"""
    ]
    sections += [_section(table) for table in TABLES.values()]
    return "\n".join(sections)


def _section(table: Table) -> str:
    files = _FILES.get(table, f"`tables/{table.name}/<run_id>.<level>.parquet`")
    lines = [
        f"## {table.name}\n\nA row is {table.row}. Key: {_key(table)}. In {files}.\n\n{_columns(table.columns)}"
    ]
    further = [column for column in EXPORTED[table] if column not in table.columns]
    if not further:
        lines.append(f"In an export sorted by {_order(table)}.\n")
        return "\n".join(lines)
    of_run = [column.name for column in further if column in RUN_FIELDS]
    also = f" The fields of its run, as in `runs`: {', '.join(of_run)}. And:" if of_run else ""
    lines.append(
        f"### {table.name} in an export\n\nA row is {_EXPORTED_ROWS[table]}. Sorted by {_order(table)}.{also}\n\n"
        + _columns([column for column in further if column not in RUN_FIELDS])
    )
    return "\n".join(lines)


def _key(table: Table) -> str:
    return ", ".join(table.key)


def _order(table: Table) -> str:
    return _ORDERS.get(table, _key(table))


def _columns(columns: Iterable[Column], format: Format = "parquet") -> str:
    rows = "\n".join(
        f"| {c.name} | {_type_of(c, format)} | {c.unit} | {c.description.replace('|', '∣')} |"
        for c in columns
    )
    return f"| column | type | unit | meaning |\n|---|---|---|---|\n{rows}\n"


def _type_of(column: Column, format: Format) -> str:
    return "JSON" if format == "csv" and pa.types.is_list(column.type) else str(column.type)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
