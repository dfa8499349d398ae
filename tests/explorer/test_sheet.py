"""The paper's figures, from the studies that fit them best."""

import re
import shutil

import polars as pl
import pytest

from explorer import analysis, charts, loading, sheet
from orchestrator.store import read_study


@pytest.fixture(scope="module")
def examples() -> dict[str, pl.DataFrame]:
    """The states of the shipped studies."""
    return {
        path.name: analysis.own_masks(analysis.with_quantities(read_study(path).states))
        for path in sorted(loading.EXAMPLES.iterdir())
        if loading.is_study(path)
    }


def panels(figure: int, studies) -> list[sheet.Panel]:
    (found,) = [each for each in sheet.FIGURES if each.number == figure]
    return found.panels(studies)


def test_every_panel_of_every_figure_is_drawn_from_the_examples(examples):
    for figure in sheet.FIGURES:
        for panel in figure.panels(examples):
            assert panel.chart is not None, (figure.number, panel)
            assert "from " in panel.caption.lower() and "n = " in panel.caption


@pytest.mark.parametrize("figure", [each.number for each in sheet.FIGURES])
def test_without_a_study_every_panel_names_the_sweep_that_has_it(figure):
    for panel in panels(figure, {}):
        assert panel.chart is None
        assert re.search(r"sweeps/\w+\.py", panel.caption)


def test_a_figure_takes_the_study_with_what_it_compares(examples):
    assert "width_scaling-laptop" in panels(2, examples)[0].caption
    assert "finite_size-laptop" in panels(3, examples)[0].caption
    assert {"pruning_methods-laptop" in panel.caption for panel in panels(5, examples)} == {True}
    alone = {"fields-laptop": examples["fields-laptop"]}
    assert panels(2, alone)[0].chart is None and panels(2, alone)[1].chart is not None


def test_fields_lie_on_their_side_of_the_transition(examples):
    below, above = (panel.chart.to_dict() for panel in panels(2, examples)[1:3])

    def fields(chart: dict) -> set[float]:
        rows = [row for data in chart["datasets"].values() for row in data]
        return {row["field"] for row in rows if "field" in row}

    assert max(fields(below)) < sheet.CRITICAL_FIELD < min(fields(above))


def test_panels_side_by_side_are_lettered_and_fit_a_column(examples):
    parts = [(panel.title, panel.chart) for panel in panels(4, examples)]
    drawing = charts.printed(charts.side_by_side(parts, 2), charts.PRINTS["double"], "", "")
    assert "a  Energy error" in drawing and "b  Fidelity" in drawing
    assert float(re.search(r'width="([\d.]+)"', drawing)[1]) == pytest.approx(178 / 25.4 * 72, abs=0.1)


def test_the_page_draws_what_there_is_and_says_what_is_missing(app, finished):
    test = app(finished, "figure_sheet")
    assert not test.exception and not test.error
    said = " ".join(element.value for element in test.info)
    assert "sweeps/toric_code.py" in said and "sweeps/pruning_methods.py" in said
    assert len(test.get("vega_lite_chart")) == 5  # tickets of the feed-forward network, four of the sizes


def test_reading_other_studies_does_not_make_the_open_one_look_changed(app, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "data" / "another")
    test = app(finished, "figure_sheet")
    assert test.session_state["shown"] is loading.open_study(finished)
