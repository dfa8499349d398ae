"""What a page makes of a chart: for a dark theme, for readers who don't see it, for those who look closer."""

import json
import re
import tomllib

import polars as pl
import pytest

from explorer import charts
from explorer.charts import lattice, look
from tests.explorer.conftest import APP
from tests.explorer.test_charts import curves_of, states_of

CHART = curves_of(states_of(sides=(4,)))
ALL_COLOURS = {
    *(look.INK, look.FAINT_INK, look.SHADE, lattice.NEGATIVE, lattice.POSITIVE, lattice.PRUNED),
    *look.SERIES_COLOURS.values(),
    *look.SIDE_COLOURS,
    *look.METHOD_COLOURS.values(),
    *charts.STATUS_COLOURS.values(),
}


def without_data(chart) -> str:
    return json.dumps({key: value for key, value in chart.to_dict().items() if key != "datasets"})


def luminance(colour: str) -> float:
    """As the Web Content Accessibility Guidelines define it."""
    shares = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", sorted(ALL_COLOURS))
def test_every_colour_is_told_from_a_dark_page(colour):
    points = pl.DataFrame({"level": 0, "step": [1, 2], "energy": [-9.0, -8], "energy_error": 0.1})
    chart = charts.training_curve(points.with_columns(acceptance=0.4), 9, None)
    chart.layer[0].mark.color = colour
    shown = charts.on_screen(chart, "", 1, dark=True).to_dict()["layer"][0]["mark"]["color"]
    contrast = (luminance(shown) + 0.05) / (luminance(charts.DARK_PAPER) + 0.05)
    # 3 is what these guidelines ask of graphics; runs that wait and weights that are gone stand back on white, too.
    assert contrast > (2 if colour in (charts.STATUS_COLOURS["waiting"], lattice.PRUNED) else 3)


def test_a_dark_page_has_the_background_of_its_theme():
    with open(APP.parents[1] / ".streamlit" / "config.toml", "rb") as file:
        assert tomllib.load(file)["theme"]["dark"]["backgroundColor"] == charts.DARK_PAPER


def test_a_chart_on_a_dark_page_has_no_ink_and_no_white_and_the_one_that_is_exported_has():
    before = without_data(CHART)
    dark = without_data(charts.on_screen(CHART, "", 1, dark=True))
    for colour in (look.INK, look.PAPER, look.GRID, look.SERIES_COLOURS["trajectory"]):
        assert f'"{colour}"' in before and f'"{colour}"' not in dark
    assert without_data(CHART) == before
    assert look.SERIES_COLOURS["init_rand"] in dark


def test_a_screen_reader_hears_headline_axes_curves_and_how_much_there_is():
    assert charts.on_screen(CHART, "Masks decide.", 12).description == (
        "Masks decide. Horizontal: weights per spin nᵣ / N, logarithmic. Vertical: |E − E₀| / |E₀|, logarithmic. "
        "Told apart: trajectory, T(init, imp), T(rand, imp), T(init, rand). 12 rows of data."
    )


def test_continuous_axes_zoom_with_every_mark_cut_at_the_frame_and_bars_of_names_do_not():
    shown = charts.on_screen(CHART, "", 1).to_dict()
    (zoom,) = shown["params"]
    assert zoom["bind"] == "scales"
    assert all(layer["mark"]["clip"] for layer in shown["layer"])
    counts = pl.DataFrame({"kind": ["dense"], "status": ["done"], "runs": [3]})
    assert "params" not in charts.on_screen(charts.run_states(counts), "", 1).to_dict()


def test_before_it_is_zoomed_a_logarithmic_axis_has_the_labels_of_the_exported_one():
    def labels(chart) -> list[str]:
        axes = charts.svg(chart.properties(width=600)).split("role-axis-label")[1:3]
        return [label for axis in axes for label in re.findall(r">([^<]+)</text>", axis.split("</g>")[0])]

    exported = labels(CHART)
    assert labels(charts.on_screen(CHART, "", 1)) == exported
    assert len(exported) > 3
