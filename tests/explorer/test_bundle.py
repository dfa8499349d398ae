"""What is downloaded: figures of a column's width, and a program that makes the same numbers again."""

import io
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from explorer import bundle, charts
from tests.explorer.conftest import APP
from tests.explorer.test_charts import curves_of, states_of

CHART = curves_of(states_of(sides=(4,)))
DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf")
# Figures of each page that can be made again from the study alone.
PAGES = {"lottery_tickets": 2, "finite_size": 5, "training": 1}


@pytest.mark.parametrize("size", charts.PRINTS.values(), ids=charts.PRINTS)
def test_a_printed_figure_has_the_width_of_its_column_and_text_of_the_size_that_is_asked_for(size):
    drawing = charts.printed(CHART, size, "Masks decide", "Intervals: 68 %, n = 2")
    width, pixels = map(float, re.search(r'width="([\d.]+)".*?viewBox="0 0 ([\d.]+)', drawing).groups())
    assert width == pytest.approx(size.width_mm / 25.4 * 72, abs=0.01)
    texts = {float(found) * width / pixels for found in re.findall(r'font-size="([\d.]+)px"', drawing)}
    assert size.text_points in {round(text, 1) for text in texts}
    (box,) = re.findall(rb"/MediaBox \[0 0 ([\d.]+)", charts.pdf(drawing))
    assert float(box) == pytest.approx(width, abs=0.1)
    image = charts.png(drawing)
    assert image.startswith(b"\x89PNG\r\n")
    # Width in pixels, from the header.
    assert int.from_bytes(image[16:20], "big") == pytest.approx(size.width_mm / 25.4 * 300, abs=2)


@pytest.mark.skipif(not DEJAVU.exists(), reason="no font with all letters is installed")
def test_numbers_and_mathematical_letters_of_a_figure_are_of_one_font():
    drawing = charts.printed(CHART, charts.PRINTS["single"], "", "")
    assert {"⁻", "ᵣ", "₀"} <= set(drawing)
    fonts = set(re.findall(rb"/BaseFont\s*/\w+\+(\w+)", charts.pdf(drawing)))
    assert len(fonts) == 1


def test_title_and_caption_are_drawn_on_a_slide_and_stand_beside_the_figure_in_a_paper():
    drawn = {
        key: charts.printed(CHART, size, "Masks decide", "Intervals: 68 %, n = 2")
        for key, size in charts.PRINTS.items()
    }
    assert "Masks decide" in drawn["slide"] and "n = 2" in drawn["slide"]
    assert "Masks decide" not in drawn["single"] and "n = 2" not in drawn["double"]


def test_a_bundle_has_the_figure_its_numbers_its_caption_and_its_program():
    table = pl.DataFrame({"x": [1.0], "error": [2.5e-7]})
    packed = bundle.bundle(CHART, charts.PRINTS["single"], "Masks decide", "n = 2", table, "print()")
    archive = zipfile.ZipFile(io.BytesIO(packed))
    assert archive.read("figure.pdf").startswith(b"%PDF")
    assert archive.read("figure.svg").startswith(b"<svg")
    assert_frame_equal(pl.read_parquet(io.BytesIO(archive.read("table.parquet"))), table)
    assert archive.read("table.csv") == b"x,error\n1.0,2.5e-7\n"
    assert archive.read("caption.txt").decode() == "Masks decide\n\nn = 2\n"
    assert archive.read("reproduce.py") == b"print()"


def test_a_table_with_lists_is_packed_without_csv():
    packed = bundle.bundle(CHART, charts.PRINTS["single"], "", "", pl.DataFrame({"x": [[1, 2]]}), None)
    assert {"table.csv", "reproduce.py"}.isdisjoint(zipfile.ZipFile(io.BytesIO(packed)).namelist())


@pytest.mark.parametrize("page", PAGES)
def test_the_code_under_a_figure_makes_its_table_and_its_chart(page, app, finished, tmp_path, monkeypatch):
    test = app(finished, page, confidence="0.9", factor="5")
    assert len(test.code) == PAGES[page]
    shown = [pl.from_pandas(frame.value) for frame in test.dataframe]
    for code in test.code:
        program = bundle.program("a figure", finished, [code.value])
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["reproduce.py"])
        (tmp_path / "reproduce.py").write_text(program)
        runpy.run_path("reproduce.py")
        table = pl.read_parquet(tmp_path / "table.parquet")
        assert any(_equal(table, frame) for frame in shown), code.value
        assert (tmp_path / "figure.svg").read_text().startswith("<svg")


def _equal(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    try:
        assert_frame_equal(one, other, check_dtypes=False)
    except AssertionError:
        return False
    return True


def test_the_program_runs_by_itself_on_the_study_that_it_is_given(app, finished, tmp_path):
    code = app(finished, "lottery_tickets").code[0].value
    (tmp_path / "reproduce.py").write_text(bundle.program("tickets", Path("not-there"), [code]))
    done = subprocess.run(
        [sys.executable, "reproduce.py", str(finished)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(APP.parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "parameters_per_spin" in pl.read_parquet(tmp_path / "table.parquet").columns
