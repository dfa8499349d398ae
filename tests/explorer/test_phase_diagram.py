"""Phase diagrams: cells, interpolation and contours of functions known exactly."""

import numpy as np
import polars as pl
import pytest

from explorer import analysis, charts
from tests.explorer.synthetic_study import joined_states, made_up_networks

ERROR = analysis.QUANTITIES["relative_error"]
ORDER = analysis.QUANTITIES["abs_magnetization_z"]


@pytest.fixture(scope="module")
def points():
    networks = made_up_networks(sides=(4,), fields=(1.0, 2.0, 4.0), levels=10, ticket_levels=())
    return analysis.phase_points(analysis.with_quantities(joined_states(networks)), ERROR, "field")


def test_cells_meet_at_midpoints_and_cover_what_is_between(points):
    one = points.filter(pl.col("field") == 2.0).sort("parameters_per_spin")
    assert one.select("bottom", "top").unique().rows() == [(1.5, 3.0)]
    densities, right = one["parameters_per_spin"].to_numpy(), one["right"].to_numpy()
    np.testing.assert_allclose(right[:-1], np.sqrt(densities[1:] * densities[:-1]))
    np.testing.assert_allclose(one["left"].to_numpy()[1:], right[:-1])
    # The outermost as wide outside as inside.
    assert points.filter(pl.col("field") == 1.0)["bottom"].unique().to_list() == [0.5]
    assert points.filter(pl.col("field") == 4.0)["top"].unique().to_list() == [5.0]


def test_a_power_law_is_interpolated_exactly(points):
    densities, fields, values = analysis.interpolated(points, ERROR, "field")
    assert (fields[0], fields[-1]) == (1, 4)
    # 0.1 / (n_r / N)² at every field is a line in log–log.
    np.testing.assert_allclose(values, np.tile(0.1 / densities**2, (len(fields), 1)), rtol=1e-6)


def test_nothing_is_drawn_beyond_what_is_measured(points):
    short = points.filter((pl.col("field") != 4) | (pl.col("level") < 4))
    densities, fields, values = analysis.interpolated(short, ERROR, "field")
    reached = short.filter(pl.col("field") == 4)["parameters_per_spin"].min()
    assert np.isnan(values[-1][densities < reached * 0.999]).all()
    assert np.isfinite(values[fields <= 2]).all()
    cells = analysis.grid_cells(densities, fields, values)
    assert len(cells) == np.isfinite(values).sum()


def test_contours_of_a_plane_are_its_lines():
    densities, verticals = np.exp(np.linspace(0, 3, 40)), np.linspace(0, 2, 30)
    values = np.log(densities)[None] + 2 * verticals[:, None]
    lines = analysis.contour_lines(densities, verticals, values, [1.5, 4.0])
    for suffix in ("", "_2"):
        on_line = lines[f"parameters_per_spin{suffix}"].log() + 2 * lines[f"vertical{suffix}"]
        np.testing.assert_allclose(on_line, lines["contour"], atol=1e-12)
    one = lines.filter(pl.col("contour") == 1.5)
    # From (ln n, y) = (0, 0.75) to (1.5, 0): all of it, once.
    length = np.hypot(
        (one["parameters_per_spin"].log() - one["parameters_per_spin_2"].log()),
        one["vertical"] - one["vertical_2"],
    ).sum()
    assert length == pytest.approx(np.hypot(1.5, 0.75), rel=1e-9)


def test_a_saddle_and_a_hole_have_no_dangling_ends():
    x = np.linspace(-1, 1, 21)
    values = np.add.outer(x**2, -(x**2))
    values[3, 4] = np.nan
    lines = analysis.contour_lines(np.exp(x), x, values, [0.1])
    ends = [
        tuple(np.round([np.log(row[f"parameters_per_spin{s}"]), row[f"vertical{s}"]], 9))
        for row in lines.rows(named=True)
        for s in ("", "_2")
    ]
    inner = [e for e in ends if max(abs(e[0]), abs(e[1])) < 0.999 and np.hypot(e[0] + 0.6, e[1] + 0.7) > 0.25]
    assert inner and all(inner.count(end) % 2 == 0 for end in set(inner))


def test_contour_levels_are_round_and_few():
    assert analysis.contour_levels(np.array([0.31, 0.92]), logarithmic=False) == [0.4, 0.6, 0.8]
    assert analysis.contour_levels(np.array([2e-4, 5e-2]), logarithmic=True) == [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
    wide = analysis.contour_levels(np.array([1e-15, 0.2]), logarithmic=True)
    assert len(wide) <= 8 and min(wide) > 0.2e-8
    assert analysis.contour_levels(np.full(4, np.nan), logarithmic=True) == []


def test_sides_are_the_vertical_axis_of_a_study_of_sizes():
    states = analysis.with_quantities(joined_states(made_up_networks(levels=8, ticket_levels=())))
    points = analysis.phase_points(states, ORDER, "side")
    assert points.select("side", "bottom", "top").unique().sort("side").rows() == [
        (3, 2.5, 3.5),
        (4, 3.5, 4.5),
    ]


def test_a_chart_draws_jumps_alone_and_clamps_colours_to_eight_decades(points):
    deep = points.with_columns(
        estimate=pl.when(pl.col("level") == 1).then(1e-15).otherwise("estimate"), low=None, high=None
    )
    transitions = pl.DataFrame(
        {
            "side": [4, 4, 4],
            "field": [1.0, 2.0, 4.0],
            "parameters_per_spin": [50.0, 60.0, 70.0],
            "low": [1.0, 55.0, 65.0],
            "high": [500.0, 65.0, 75.0],
            "verdict": ["transition", "no jump", "undecided"],
            "reasons": [""] * 3,
        }
    )
    chart = charts.phase_diagram(deep, deep, ERROR, "field", transitions=transitions)
    spec = chart.to_dict()
    domain = spec["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert domain[1] / domain[0] == pytest.approx(1e8)
    drawn = [rows for rows in spec["datasets"].values() if rows and "verdict" in rows[0]]
    assert all({row["field"] for row in rows} == {1.0, 4.0} for rows in drawn) and drawn
    # An interval that reaches further is cut at the diagram's edge.
    assert max(row["high"] for rows in drawn for row in rows) == deep["right"].max()
    assert charts.svg(charts.printed(chart, "A title", "A caption")).startswith("<svg")
