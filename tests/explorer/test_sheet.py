"""The paper's figures, from the studies that fit them best."""

import re
import shutil

import polars as pl
import pytest

from explorer import charts, loading, sheet
from explorer.views import figures
from orchestrator.store import read_study


@pytest.fixture(scope="module")
def examples() -> dict[str, pl.DataFrame]:
    """The states of the shipped studies that are whole; those at the paper's scale grow."""
    return {
        path.name: sheet.states_of(read_study(path)) for path in sorted(loading.EXAMPLES.glob("*-laptop"))
    }


@pytest.fixture(scope="module")
def drawn(examples) -> dict[int, list[sheet.Panel]]:
    """The panels of each figure from all shipped studies, made once."""
    return {figure.number: figure.panels(examples) for figure in sheet.FIGURES}


def panels(figure: int, studies) -> list[sheet.Panel]:
    (found,) = [each for each in sheet.FIGURES if each.number == figure]
    return found.panels(studies)


def test_every_panel_of_every_figure_is_drawn_from_the_examples(drawn):
    for number, found in drawn.items():
        for panel in found:
            assert panel.chart is not None, (number, panel)
            assert "from " in panel.caption.lower() and "n = " in panel.caption
            assert panel.differs.startswith("Profile laptop, in parentheses the paper’s: ")


@pytest.mark.parametrize("figure", [each.number for each in sheet.FIGURES])
def test_without_a_study_every_panel_names_the_sweep_that_has_it(figure):
    for panel in panels(figure, {}):
        assert panel.chart is None
        assert re.search(r"sweeps/\w+\.py", panel.caption)


def test_a_figure_takes_the_study_with_what_it_compares(examples, drawn):
    assert "width_scaling-laptop" in drawn[2][0].caption
    assert "finite_size-laptop" in drawn[3][0].caption
    assert {"pruning_methods-laptop" in panel.caption for panel in drawn[5]} == {True}
    alone = {"fields-laptop": examples["fields-laptop"]}
    assert panels(2, alone)[0].chart is None and panels(2, alone)[1].chart is not None


def test_fields_lie_on_their_side_of_the_transition(drawn):
    below, above = (panel.chart.to_dict() for panel in drawn[2][1:3])

    def fields(chart: dict) -> set[float]:
        rows = [row for data in chart["datasets"].values() for row in data]
        return {row["field"] for row in rows if "field" in row}

    assert max(fields(below)) < sheet.CRITICAL_FIELD < min(fields(above))


def test_a_panel_says_in_what_its_networks_are_not_the_papers_and_nothing_else(examples, drawn):
    assert drawn[2][2].differs == (
        "Profile laptop, in parentheses the paper’s: L = 4 (10), 1,000 steps of pre-training (10,000), "
        "150 a level (1,000), 2 trajectories a curve (1)."
    )
    # One trajectory of the residual network, with fewer weights and samples.
    residual = drawn[1][2].differs
    assert "288 weights before pruning (18,576)" in residual and "256 samples (1,024)" in residual
    assert "trajectories" not in residual
    states = examples["toric_code-laptop"].filter(kind="dense")
    theirs = {"side": [3], "width_per_spin": [4.0, 8.0]}
    assert sheet.differences(states, theirs) == "Profile laptop: as in the paper."


def test_the_error_of_widths_has_its_regions_with_fits_plateaus_and_boundaries(drawn):
    panel = drawn[2][0]
    layers = panel.chart.to_dict()["layer"]
    dashed = [layer["mark"].get("strokeDash") for layer in layers if layer["mark"]["type"] == "rule"]
    assert dashed == [[2, 3], [6, 4]]
    assert "fitted" in {layer["encoding"].get("y", {}).get("field") for layer in layers}
    assert "falls with the power 3.6 to 4.9" in panel.caption and "dashed: boundaries" in panel.caption


def test_a_sheet_has_every_panel_with_its_texts_and_is_one_page(drawn):
    (panel,) = drawn[7]
    part = charts.SheetPanel(panel.title, panel.chart, (panel.differs, "n < 3"))
    drawing = charts.sheet(
        [charts.SheetFigure("Fig. 1", [part] * 3), charts.SheetFigure("Fig. 2", [part] * 2)]
    )
    assert drawing.count("n &lt; 3") == 5
    assert re.findall(r">(\w)  Networks built", drawing) == ["a", "b", "c", "a", "b"]
    # One row has room for three panels and not for five.
    first, second = (float(top) for top in re.findall(r'y="([\d.]+)"[^>]*><tspan[^>]*>Fig', drawing))
    assert second > first + 300
    (box,) = re.findall(rb"/MediaBox \[0 0 ([\d.]+)", charts.pdf(drawing))
    assert float(box) == pytest.approx(420 / 25.4 * 72, abs=0.1)


def test_panels_side_by_side_are_lettered_and_fit_a_column(drawn):
    parts = [(panel.title, panel.chart) for panel in drawn[4]]
    drawing = charts.printed(charts.side_by_side(parts, 2), charts.PRINTS["double"], "", "")
    assert "a  Energy error" in drawing and "b  Fidelity" in drawing
    assert float(re.search(r'width="([\d.]+)"', drawing)[1]) == pytest.approx(178 / 25.4 * 72, abs=0.1)


def test_the_page_draws_what_there_is_and_says_what_is_missing(app, finished):
    test = app(finished, "figure_sheet")
    assert not test.exception and not test.error
    said = " ".join(element.value for element in test.info)
    assert "sweeps/toric_code.py" in said and "sweeps/pruning_methods.py" in said
    assert len(test.get("vega_lite_chart")) == 5  # tickets of the feed-forward network, four of the sizes
    assert [button.label for button in test.get("download_button")].count(figures.SHEET_LABEL) == 1


def test_reading_other_studies_does_not_make_the_open_one_look_changed(app, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "data" / "another")
    test = app(finished, "figure_sheet")
    assert test.session_state["shown"] is loading.open_study(finished)
