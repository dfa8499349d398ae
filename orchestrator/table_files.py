"""The files of a table: reading them tolerantly, whatever version wrote them.

A damaged file is named and the rest is read all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow as pa

from orchestrator.run_directory import COMPACTED, RunDirectory, StudyError
from orchestrator.tables import Column, Table


def files_of(directory: RunDirectory, table: Table) -> list[Path]:
    """All files of a table in the order in which their rows were written: of equal keys the last row counts.

    Compacted files come first, by their numbers, since a level's own part is newer than what was compacted of it.
    """
    return sorted(
        directory.table(table).glob("*.parquet"), key=lambda path: (not is_compacted(path), path.name)
    )


def is_compacted(path: Path) -> bool:
    """Whether a file holds the rows of many; else it is the part that a level wrote."""
    return path.name.startswith(COMPACTED)


def is_part(path: Path) -> bool:
    """Whether a file is what one level wrote, by its name: a copy that someone made is none."""
    run_id, *numbers = path.stem.split(".")
    return len(numbers) == 1 and numbers[0].isdecimal() and run_id.isalnum()


def read_table(
    directory: RunDirectory, table: Table, problems: list[str], run_id: str | None = None
) -> pl.DataFrame:
    """All rows of a table of a run directory, or a run's; damaged files are problems."""

    def listed() -> list[Path]:
        return [
            path
            for path in files_of(directory, table)
            if run_id is None or is_compacted(path) or path.name.startswith(f"{run_id}.")
        ]

    while True:
        files, found = listed(), []
        frame = read_files(table, files, found, run_id=run_id)
        # A compaction that ends meanwhile removes files whose rows are in one that was not listed.
        if set(files) <= set(listed()):
            problems += found
            return frame


def read_level(directory: RunDirectory, table: Table, run_id: str, level: int) -> pl.DataFrame:
    """The rows of one level, from its own part or from a compacted file.

    Raises:
        StudyError: there are none, or the file is damaged.
    """
    part = directory.part(table, run_id, level)
    while True:
        files = (
            [part] if part.exists() else [path for path in files_of(directory, table) if is_compacted(path)]
        )
        try:
            # A file that another version wrote has its columns all the same.
            rows = _scan(files, schema_of(table.columns)).filter(run_id=run_id, level=level).collect()
        except FileNotFoundError:
            continue  # compacted since we looked
        except (pl.exceptions.PolarsError, OSError):
            damaged = next((path for path in files if not is_whole(path)), files[0])
            raise StudyError(damaged_sentence(damaged)) from None
        if rows.is_empty():
            raise StudyError(f"{part} is missing, and no compacted file of {table.name} has its rows")
        return unique_rows(table, rows)


def damaged_files(directory: RunDirectory, table: Table) -> list[Path]:
    """Files of a table that are truncated."""
    damaged = []
    for path in files_of(directory, table):
        try:
            if not is_whole(path):
                damaged.append(path)
        except FileNotFoundError:
            continue  # compacted since we looked
    return damaged


def schema_of(columns: Iterable[Column]) -> pl.Schema:
    # Through a table of no rows pyarrow would import pandas, 0.3 s.
    return pl.Schema(pa.schema([(column.name, column.type) for column in columns]))


def read_files(
    table: Table,
    files: list[Path],
    problems: list[str],
    columns: tuple[Column, ...] | None = None,
    run_id: str | None = None,
) -> pl.DataFrame:
    """All rows of the files, or a run's; a column that an older version lacks is null, a damaged file is a problem."""
    schema = schema_of(columns or table.columns)
    if not files:
        return pl.DataFrame(schema=schema)
    try:
        frame = _read_together(files, schema, run_id)
    except FileNotFoundError:
        return read_files(table, [path for path in files if path.exists()], problems, columns, run_id)
    except (pl.exceptions.PolarsError, OSError):
        return _read_one_by_one(table, files, schema, problems, run_id)
    # A file without a key column is not one of ours, though its missing columns read as nulls.
    certain = [name for name in table.key if name not in (*table.nullable_key, *table.later_key)]
    foreign = frame.select(pl.any_horizontal(pl.col(certain).is_null()).any()).item()
    return _read_one_by_one(table, files, schema, problems, run_id) if foreign else frame


def _read_together(files: list[Path], schema: pl.Schema, run_id: str | None) -> pl.DataFrame:
    rows = _scan(files, schema)
    return (rows if run_id is None else rows.filter(run_id=run_id)).collect()


def _scan(files: list[Path], schema: pl.Schema) -> pl.LazyFrame:
    return pl.scan_parquet(
        files,
        schema=schema,
        missing_columns="insert",
        extra_columns="ignore",
        glob=False,
        hive_partitioning=False,
    )


def _read_one_by_one(
    table: Table, files: list[Path], schema: pl.Schema, problems: list[str], run_id: str | None
) -> pl.DataFrame:
    frames = [pl.DataFrame(schema=schema)]
    for path in files:
        try:
            found = pl.read_parquet_schema(path)
            missing = [name for name in table.key if name not in (*found, *table.later_key)]
            if missing:
                problems.append(
                    f"{path} is not a file of the table {table.name}: it has no column {missing[0]!r}"
                )
                continue
            frames.append(_read_together([path], schema, run_id))
        except FileNotFoundError:
            continue  # compaction or an extension replaced it while we read
        except PermissionError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
        except (pl.exceptions.PolarsError, OSError) as error:
            if is_whole(path):
                reason = str(error).splitlines()[0]
                problems.append(f"{path} does not fit the table {table.name}: {reason}")
            else:
                problems.append(damaged_sentence(path))
    return pl.concat(frames)


def unique_rows(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """One row a key, the last one, so that a compaction is never seen half done.

    Args:
        frame: rows in the order of `files_of`.
    """
    return frame.unique(list(table.key), keep="last", maintain_order=True)


def is_whole(path: Path) -> bool:
    """Whether the file starts and ends as Parquet does; a truncated one doesn't."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0, 2)
        size = file.tell()
        if size < 12:
            return False
        file.seek(-8, 2)
        tail = file.read(8)
    footer = int.from_bytes(tail[:4], "little")
    return head == tail[4:] == b"PAR1" and footer + 12 <= size


def damaged_sentence(path: Path) -> str:
    if is_compacted(path):
        return f"{path} is truncated or damaged; restore it from a copy: it has the rows of many levels"
    return f"{path} is truncated or damaged; remove it or restore it from a copy"
