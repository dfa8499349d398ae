"""What is taken away: a figure with its numbers, its caption and the program that makes them again; a whole study."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import polars as pl

from explorer import charts
from orchestrator.export import Format, export_study
from orchestrator.store import Study

_PROGRAM = '''"""Makes the table and the figure "{name}" again: python reproduce.py [STUDY]

Needs this project's packages on Python's path. STUDY is a run directory or an export.
"""

import sys
from pathlib import Path

import polars as pl

from explorer import analysis, charts
from orchestrator.store import read_study

study = read_study(Path(sys.argv[1] if len(sys.argv) > 1 else {study!r}))
{lines}

table.write_parquet("table.parquet")
Path("figure.svg").write_text(charts.svg(chart), encoding="utf-8")
print(table)
'''


def program(name: str, study: Path, lines: Sequence[str]) -> str:
    """The program that makes a figure's `table` and `chart` from a study.

    Args:
        name: of the figure.
        study: the directory that it was drawn from.
        lines: Python lines that have `study`, and end with `table` and `chart`.
    """
    return _PROGRAM.format(name=name, study=str(study), lines="\n".join(lines))


def parquet(table: pl.DataFrame) -> bytes:
    """The table as a Parquet file."""
    file = io.BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def bundle(
    chart: alt.TopLevelMixin,
    size: charts.Print,
    headline: str,
    caption: str,
    table: pl.DataFrame,
    program: str | None,
) -> bytes:
    """A ZIP archive of a figure as PDF, SVG, PNG and Vega-Lite, its table, its caption and its program."""
    drawing = charts.printed(chart, size, headline, caption)
    contents = {
        "figure.pdf": charts.pdf(drawing),
        "figure.svg": drawing,
        "figure.png": charts.png(drawing),
        "figure.vl.json": charts.specification(chart),
        "table.parquet": parquet(table),
        "caption.txt": f"{headline}\n\n{caption}\n",
    }
    if not _nested(table):
        contents["table.csv"] = table.write_csv()
    if program is not None:
        contents["reproduce.py"] = program
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def packed_export(study: Study, format: Format) -> bytes:
    """A ZIP archive of a study's export.

    Raises:
        StudyError: a file of the study is damaged.
    """
    file = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in export_study(study, Path(folder) / "export", format):
            archive.write(path, path.name)
    return file.getvalue()


def _nested(table: pl.DataFrame) -> bool:
    """Whether a column holds lists, which CSV can't."""
    return any(kind.is_nested() for kind in table.schema.values())
