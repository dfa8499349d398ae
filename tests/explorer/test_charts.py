"""What a chart says about its data: scales, marks, colours, and that nothing measured is missing."""

import json
import re

import polars as pl
import pytest

from explorer import analysis, charts
from explorer.analysis import QUANTITIES
from tests.explorer.synthetic_study import joined_states, made_up_networks

RELATIVE_ERROR = QUANTITIES["relative_error"]


def states_of(**choices) -> pl.DataFrame:
    return analysis.with_quantities(joined_states(made_up_networks(levels=6, ticket_levels=(3,), **choices)))


def curves_of(states: pl.DataFrame, quantity=RELATIVE_ERROR, by="series", **choices):
    points = analysis.curve_points(states, quantity, by=("series",) if by == "series" else ())
    return charts.curves(points, analysis.network_points(states, quantity), quantity, by, **choices)


def drawn_marks(chart) -> list[str]:
    """The SVG elements of the measured points, open and filled."""
    return re.findall(r'<path[^>]*aria-roledescription="point"[^>]*>', charts.svg(chart))


def drawn_bars(chart) -> list[str]:
    """The SVG elements of the intervals that are drawn as bars."""
    return re.findall(r'<line[^>]*aria-roledescription="rule mark"[^>]*>', charts.svg(chart))


def y_scales(chart) -> list[dict]:
    return [layer["encoding"]["y"]["scale"] for layer in chart.to_dict()["layer"] if "y" in layer["encoding"]]


def test_energy_errors_have_logarithmic_axes_and_magnetisations_linear_ones():
    states = states_of(trajectory_spread=0.3)
    for layer in curves_of(states).to_dict()["layer"]:
        assert layer["encoding"]["x"]["scale"]["type"] == layer["encoding"]["y"]["scale"]["type"] == "log"
    for scale in y_scales(curves_of(states, QUANTITIES["magnetization_x"])):
        assert scale.get("type") != "log"
        assert scale["zero"] is False


@pytest.mark.parametrize("sign", [1, -1])
def test_every_network_and_every_point_is_drawn_and_negative_ones_are_open(sign):
    states = states_of(sides=(4,), sign=sign, trajectory_spread=0.3)
    points = analysis.curve_points(states, RELATIVE_ERROR)
    marks = drawn_marks(curves_of(states))
    assert len(marks) == len(points) + len(states)
    open_marks = [mark for mark in marks if 'fill="white"' in mark]
    assert len(open_marks) == (len(marks) if sign < 0 else 0)


def test_a_browser_gets_the_checked_drawing_with_the_same_rows():
    chart = curves_of(states_of(sides=(4,)))
    checked, shown = json.loads(charts.specification(chart)), charts.in_streams(chart)
    # The page has a width; Altair's theme gives one to a file.
    del checked["config"]["view"]["continuousWidth"], checked["config"]["view"]["continuousHeight"]
    rows, streams = checked.pop("datasets"), shown.pop("datasets")
    assert len(streams) == len(rows) > 1
    text = json.dumps(shown, sort_keys=True)
    for name, stream in streams.items():
        values = pl.read_ipc_stream(stream).to_dicts()
        text = text.replace(name, next(other for other in rows if rows[other] == values))
    assert text == json.dumps(checked, sort_keys=True)


def vertical_domain(states: pl.DataFrame, confidence: float) -> tuple[float, float]:
    points = analysis.curve_points(states, RELATIVE_ERROR, confidence=confidence)
    networks = analysis.network_points(states, RELATIVE_ERROR)
    scales = y_scales(charts.curves(points, networks, RELATIVE_ERROR, "series"))
    assert all(scale["domain"] == scales[0]["domain"] for scale in scales)
    return tuple(scales[0]["domain"])


def test_logarithmic_axes_span_every_network_and_every_interval_near_them():
    states = states_of(sides=(4,), trajectories=5, trajectory_spread=0.5, ticket_spread=0.5)
    points = analysis.curve_points(states, RELATIVE_ERROR, confidence=0.95)
    low, high = vertical_domain(states, 0.95)
    assert low < min(points["low"].min(), states["relative_error"].min())
    assert high > max(points["high"].max(), states["relative_error"].max())


def test_an_interval_of_many_decades_does_not_press_the_measured_marks_into_a_line():
    states = states_of(sides=(4,), trajectories=2, trajectory_spread=1.0)
    points = analysis.curve_points(states, RELATIVE_ERROR, confidence=0.99)
    low, high = vertical_domain(states, 0.99)
    assert points["high"].max() > 100 * high
    assert states["relative_error"].min() / 20 < low < states["relative_error"].min()
    assert states["relative_error"].max() < high < 20 * states["relative_error"].max()


def test_a_side_keeps_its_colour_and_shape_whichever_sides_stand_beside_it():
    def look_of_side_4(sides):
        chart = curves_of(states_of(sides=sides), by="side").to_dict()
        points = next(layer["encoding"] for layer in chart["layer"] if "shape" in layer["encoding"])
        where = points["color"]["scale"]["domain"].index("L = 4")
        return points["color"]["scale"]["range"][where], points["shape"]["scale"]["range"][where]

    assert look_of_side_4((4,)) == look_of_side_4((3, 4)) == look_of_side_4((4, 5))


def test_sides_of_the_paper_and_series_differ_in_colour():
    assert len({charts.side_colour(side) for side in range(3, 11)}) == 8
    # The variants, the trajectory and what is regrown.
    assert (
        len(set(charts.SERIES_COLOURS.values())) == len(charts.SERIES_COLOURS) == len(analysis.VARIANTS) + 2
    )
    assert len(set(charts.SERIES_SHAPES.values())) == len(charts.SERIES_SHAPES)


def test_a_point_without_an_interval_is_drawn_without_a_bar():
    exact = states_of(sides=(3,), trajectories=1)
    assert drawn_bars(curves_of(exact)) == []
    measured = states_of(sides=(3,), trajectories=1, measurement_error=1e-3)
    assert len(drawn_bars(curves_of(measured))) == len(analysis.VARIANTS)


def test_the_horizontal_axis_is_weights_per_spin_or_weights():
    states = states_of(sides=(4,))
    for horizontal, title in charts.HORIZONTAL.items():
        layers = curves_of(states, horizontal=horizontal).to_dict()["layer"]
        assert {layer["encoding"]["x"]["field"] for layer in layers} == {horizontal}
        assert {layer["encoding"]["x"]["title"] for layer in layers} == {title}


def test_stretches_of_agreement_are_shaded_in_weights_per_spin():
    states = states_of()
    agreeing = pl.DataFrame({"start": [8.0], "end": [20.0]})
    shade = curves_of(states, by="side", agreeing=agreeing).to_dict()["layer"][0]
    assert shade["mark"]["type"] == "rect"
    assert (shade["encoding"]["x"]["field"], shade["encoding"]["x2"]["field"]) == ("start", "end")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.2, 60, {2: "2", 3: "3", 5: "5", 10: "10", 20: "20", 30: "30", 50: "50"}),
        (2e-6, 0.3, {1e-5: "10⁻⁵", 1e-4: "10⁻⁴", 1e-3: "10⁻³", 1e-2: "10⁻²", 1e-1: "10⁻¹"}),
        (1.5e-5, 9e-5, {2e-5: "2·10⁻⁵", 3e-5: "3·10⁻⁵", 5e-5: "5·10⁻⁵"}),
    ],
)
def test_logarithmic_ticks_are_labelled_as_in_a_paper(low, high, expected):
    assert charts.tick_labels(low, high) == pytest.approx(expected)


def test_ratios_and_agreement_mark_what_equal_means():
    states = states_of()
    ratio = charts.ratios(analysis.ticket_ratios(states.filter(pl.col("side") == 4)))
    assert len(drawn_marks(ratio)) == len(analysis.TICKET_PAIRS)
    trajectory = states.filter(pl.col("series") == analysis.TRAJECTORY)
    points = analysis.curve_points(trajectory, QUANTITIES["error_per_spin"], by=())
    factors = analysis.size_agreement(points)
    assert len(drawn_marks(charts.agreement(factors, 3.0))) == len(factors)


def test_a_training_curve_shows_every_recorded_step():
    steps = pl.DataFrame(
        {"level": 0, "step": [1, 2, 10], "energy": [-9.0, -20, -28], "energy_error": 0.1, "acceptance": 0.4}
    )
    assert len(drawn_marks(charts.training_curve(steps, 9, -28.8))) == 3
    assert len(drawn_marks(charts.training_curve(steps, 9, None))) == 3


def test_a_training_error_is_the_distance_from_the_reference_and_open_below_it():
    steps = pl.DataFrame(
        {
            "level": 0,
            "step": [1, 2, 10],
            "energy": [-19.8, -28.0, -29.7],
            "energy_error": 0.9,
            "acceptance": 0.4,
        }
    )
    chart = charts.training_curve(steps, 9, -28.8, above_reference=True)
    drawn = chart.data
    assert drawn["energy"].to_list() == pytest.approx([1.0, 0.8 / 9, 0.1])
    assert drawn["below"].to_list() == [False, False, True]
    # Bars that would reach zero end with the lowest mark.
    assert drawn["low"].to_list() == pytest.approx([0.9, 0.8 / 9, 0.8 / 9])
    assert chart.to_dict()["layer"][0]["encoding"]["y"]["scale"]["type"] == "log"
    with pytest.raises(ValueError, match="no reference energy"):
        charts.training_curve(steps, 9, None, above_reference=True)


def test_nothing_to_draw_is_refused_with_a_sentence():
    states = states_of()
    with pytest.raises(ValueError, match="no points of the relative error of the energy to draw"):
        curves_of(states.clear())
    with pytest.raises(ValueError, match="no ratios to draw"):
        charts.ratios(analysis.ticket_ratios(states.clear()))


def test_a_study_of_more_than_5000_networks_is_drawn():
    states = states_of(sides=(3,), trajectories=1)
    many = pl.concat([states] * 400)
    assert len(many) > 5000
    assert charts.svg(curves_of(many)).startswith("<svg")
