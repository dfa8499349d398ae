"""Few files instead of many: the parts that levels wrote become files of up to 64 MB.

A merged file has its name before the files that it holds are removed, and readers drop rows that they meet
twice. So a kill at any moment leaves a whole study, and the next compaction ends what was begun.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.table_files import damaged_sentence, files_of, is_compacted, read_files
from orchestrator.tables import TABLES, Table

FILE_BYTES = 64 * 2**20
# One network's weights are read without the others; a group is what is read for it.
ROW_GROUP_BYTES = 2**20
# A driver compacts a study of so many parts in one table by itself: a reader opens about 2000 a second.
MOST_PARTS = 1000


def most_parts(directory: RunDirectory) -> int:
    """Parts of the table that has the most."""
    return max(
        sum(not is_compacted(path) for path in files_of(directory, table)) for table in TABLES.values()
    )


def compact(directory: RunDirectory, note: Callable[[str], None] = lambda text: None) -> tuple[int, int]:
    """Merge each table's parts and small files into few; the number of files before and after.

    Rows get the columns of the present version; a file with columns that this version does not know is left
    alone. Only for who holds the lock.

    Args:
        note: told what is done, a sentence for each merged file.

    Raises:
        StudyError: a file is damaged, or cannot be written or removed; what was merged before is kept.
    """
    before = _count(directory)
    for table in TABLES.values():
        for files in _groups(directory, table):
            note(f"{table.name}: {len(files)} files into one")
            _merge(directory, table, files)
    return before, _count(directory)


def _count(directory: RunDirectory) -> int:
    return sum(len(files_of(directory, table)) for table in TABLES.values())


def _groups(directory: RunDirectory, table: Table) -> Iterator[list[Path]]:
    """Files to be merged with each other, in the order in which readers take them."""
    files = [(path, *_size_and_use(table, path)) for path in files_of(directory, table)]
    # A merged file is read after all that are compacted now. So what comes before one that is left alone is left
    # alone with it: an older row would otherwise be read after a newer one, and count.
    left_alone = [place for place, (path, _, merges) in enumerate(files) if is_compacted(path) and not merges]
    group, size = [], 0
    for path, bytes_of_rows, merges in files[max(left_alone, default=-1) + 1 :]:
        if not merges:
            continue
        if group and size + bytes_of_rows > FILE_BYTES:
            yield group
            group, size = [], 0
        group.append(path)
        size += bytes_of_rows
    if len(group) > 1:
        yield group


def _size_and_use(table: Table, path: Path) -> tuple[int, bool]:
    """Bytes of a file's rows, and whether it is merged with others."""
    footer = _footer(path)
    # Of the rows: most of a part is its footer.
    size = sum(footer.row_group(k).total_byte_size for k in range(footer.num_row_groups))
    # What is large already would only be written again and again.
    return size, size <= FILE_BYTES // 2 and _is_known(table, footer)


def _footer(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        raise StudyError(damaged_sentence(path)) from None


def _is_known(table: Table, footer: pq.FileMetaData) -> bool:
    """Whether no column would be lost."""
    return set(footer.schema.to_arrow_schema().names) <= set(table.names)


def _merge(directory: RunDirectory, table: Table, files: list[Path]) -> None:
    problems: list[str] = []
    rows = read_files(table, files, problems)
    if problems:
        raise StudyError(problems[0])
    # After a kill a part may be there beside the file that it was merged into. Where a level was written anew the
    # later row is to stay the later one, so the order of equal keys is kept.
    plain = [column.name for column in table.columns if not pa.types.is_list(column.type)]
    rows = rows.unique(plain, keep="last", maintain_order=True).sort(table.key, maintain_order=True)
    write_compacted(directory, table, rows, _sources(files))
    for path in files:
        directory.remove(path)


def write_compacted(directory: RunDirectory, table: Table, rows: pl.DataFrame, sources: list[dict]) -> None:
    """Write rows of a table as its next compacted file.

    Args:
        rows: columns of the present version, sorted by the table's key.
        sources: what wrote them, a record for each version that wrote some.
    """
    directory.write_table(
        directory.new_compacted(table),
        rows.to_arrow().cast(table.schema),
        {"sources": json.dumps(sources)},
        row_group_size=max(1, rows.height * ROW_GROUP_BYTES // max(1, rows.estimated_size())),
    )


def _sources(files: list[Path]) -> list[dict]:
    """What wrote the rows: each combination of versions, with the number of files and the times of the first and last."""
    sources: dict[tuple, dict] = {}
    for path in files:
        footer = {key.decode(): value.decode() for key, value in (_footer(path).metadata or {}).items()}
        if is_compacted(path):
            found = json.loads(footer["sources"])
        else:
            versions = {
                name: footer.get(name)
                for name in ("tables_version", "numerics_version", "code_version", "sweep")
            }
            at = footer.get("created_at", "")
            found = [versions | {"files": 1, "first": at, "last": at}]
        for source in found:
            key = tuple(v for k, v in source.items() if k not in ("files", "first", "last"))
            known = sources.setdefault(key, source | {"files": 0})
            known["files"] += source["files"]
            known["first"], known["last"] = (
                min(known["first"], source["first"]),
                max(known["last"], source["last"]),
            )
    return list(sources.values())
