"""Where the state changes along pruning levels: criteria by level step, places with intervals, envelope and drift."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.analysis import VERDICTS, Criterion, Quantity
from explorer.charts.axes import channel, seen_by
from explorer.charts.curves import HORIZONTAL
from explorer.charts.look import INK, PAPER, Look, refuse_nothing, styled

VERDICT_SHAPES = dict(zip(VERDICTS, ("circle", "diamond", "triangle-up", "square", "cross"), strict=True))
# Only what counts as a transition is filled.
_FILLED = VERDICTS[:2]


def level_steps(points: pl.DataFrame, transitions: pl.DataFrame, criterion: Criterion) -> alt.LayerChart:
    """A criterion by level step, a curve for each side, with the place of its largest step below.

    Args:
        points: from `analysis.step_points`, one field.
        transitions: from `analysis.detect_transitions` of the same sides.

    Raises:
        ValueError: there are no points.
    """
    refuse_nothing(points, f"values of the {criterion.name}")
    look = Look.of(points, "side")
    x = _density(points["parameters_per_spin"])
    seen = seen_by(points["estimate"], points)

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, criterion.symbol, seen)

    base = alt.Chart(look.labelled(points))
    tooltip = [
        alt.Tooltip("label:N", title="side"),
        alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
        alt.Tooltip("level:Q", title="level after the step"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("estimate", "low", "high")),
        *(alt.Tooltip("trajectories:Q"), alt.Tooltip("interval:N")),
    ]
    layers = [
        base.transform_filter("isValid(datum.low)")
        .mark_area(opacity=0.16, clip=True)
        .encode(x=x, y=y("low"), y2="high:Q", color=look.colour),
        base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y("estimate"), color=look.colour),
        *look.marks(
            base.encode(x=x, y=y("estimate"), tooltip=tooltip), "datum.negative > 0", size=34, opacity=1
        ),
    ]
    found = transitions.drop_nulls("height")
    if not found.is_empty():
        places = alt.Chart(look.labelled(found)).transform_calculate(
            start=f"max(datum.low, {points['parameters_per_spin'].min()})",
            end=f"min(datum.high, {points['parameters_per_spin'].max()})",
        )
        # At the height of its peak, beyond all marks' own size.
        layers.append(
            places.mark_rule(strokeWidth=3, opacity=0.55, clip=True).encode(
                x=_density(points["parameters_per_spin"], "start"),
                x2="end:Q",
                y=y("height"),
                color=look.colour,
            )
        )
    return styled(alt.layer(*layers), height=360)


def transition_places(transitions: pl.DataFrame, vertical: str = "side") -> alt.LayerChart:
    """The density of each side's (or field's) largest level step with its interval, its shape the verdict.

    Args:
        transitions: from `analysis.detect_transitions`.
        vertical: side or field.

    Raises:
        ValueError: no side has a place.
    """
    found = transitions.drop_nulls("parameters_per_spin")
    refuse_nothing(found, "places of a largest level step")
    spread = 30 * found["parameters_per_spin"].max()
    found = found.with_columns(
        name=_names(vertical),
        # Student's t over two trajectories has intervals of decades.
        low=pl.col("low").clip(lower_bound=found["parameters_per_spin"].min() / 10),
        high=pl.col("high").clip(upper_bound=min(spread, 10 * found["parameters_per_spin"].max())),
    )
    seen = pl.concat([found["parameters_per_spin"], found["low"], found["high"]])
    names = found.sort(vertical)["name"].to_list()
    y = alt.Y("name:N", title=None, sort=names[::-1])
    base = alt.Chart(found)
    tooltip = [
        alt.Tooltip("name:N", title="where"),
        *(
            alt.Tooltip(f"{name}:Q", format=".3g")
            for name in ("parameters_per_spin", "low", "high", "p_value")
        ),
        *(alt.Tooltip("trajectories:Q"), alt.Tooltip("verdict:N"), alt.Tooltip("reasons:N")),
    ]
    return styled(
        alt.layer(
            base.mark_rule(strokeWidth=1.8, color=INK).encode(x=_density(seen, "low"), x2="high:Q", y=y),
            *verdict_marks(base.encode(x=_density(seen), y=y, tooltip=tooltip), found, INK),
        ),
        height=110 + 34 * len(names),
    )


def _names(vertical: str) -> pl.Expr:
    if vertical == "side":
        return pl.format("L = {}", "side")
    return pl.col("field").map_elements("h = {:g}".format, return_dtype=pl.String)


def verdict_marks(
    chart: alt.Chart, transitions: pl.DataFrame, colour: str, size: float = 95, legend: str = "top"
) -> tuple:
    """Two layers of points: transitions filled, what is none open, each verdict with its shape."""
    there = [verdict for verdict in VERDICTS if verdict in set(transitions["verdict"])]
    scale = alt.Scale(domain=there, range=[VERDICT_SHAPES[verdict] for verdict in there])
    chart = chart.encode(
        shape=alt.Shape("verdict:N", title=None, scale=scale, legend=alt.Legend(columns=2, orient=legend))
    )
    filled = f"indexof({list(_FILLED)}, datum.verdict) >= 0"
    style = {"size": size, "opacity": 1, "stroke": colour, "strokeWidth": 1.6}
    return (
        chart.transform_filter(filled).mark_point(fill=colour, **style),
        chart.transform_filter(f"!({filled})").mark_point(fill=PAPER, **style),
    )


def envelope(points: pl.DataFrame, lowest: pl.DataFrame, quantity: Quantity) -> alt.LayerChart:
    """A quantity of the lowest-energy networks (lines with marks) on the trajectories' mean (faint), by side.

    Args:
        points: from `analysis.curve_points`, trajectories alone.
        lowest: from `analysis.lowest_energy_envelope` of the same sides.

    Raises:
        ValueError: there are no networks.
    """
    refuse_nothing(lowest, "networks")
    look = Look.of(lowest, "side")
    values = pl.concat([points["estimate"], lowest[quantity.column].abs()])
    x = _density(lowest["parameters_per_spin"])

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, quantity.symbol, values, quantity.logarithmic)

    base = alt.Chart(look.labelled(lowest))
    mean = alt.Chart(look.labelled(points)).mark_line(strokeWidth=5, opacity=0.22)
    tooltip = [
        alt.Tooltip("label:N", title="side"),
        alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
        *(alt.Tooltip("series:N", title="lowest is"), alt.Tooltip("run_id:N", title="run")),
        *(
            alt.Tooltip("networks:Q", title="among networks"),
            alt.Tooltip("trajectories:Q", title="of trajectories"),
        ),
        alt.Tooltip(f"{quantity.column}:Q", title=quantity.symbol, format=".4f"),
    ]
    return styled(
        alt.layer(
            mean.encode(x=x, y=y("estimate"), color=look.colour),
            base.mark_line(strokeWidth=1.1).encode(x=x, y=y(quantity.column), color=look.colour),
            *look.marks(base.encode(x=x, y=y(quantity.column), tooltip=tooltip), "false", size=34, opacity=1),
        ),
        height=330,
    )


def energy_drift(steps: pl.DataFrame) -> alt.LayerChart:
    """Drift of the training energy in units of its error, at the network after each level step, by side.

    Args:
        steps: from `analysis.level_steps`, one field.

    Raises:
        ValueError: no drift is recorded.
    """
    known = steps.filter(pl.col("energy_drift").is_finite(), pl.col("energy_drift_error") > 0)
    refuse_nothing(known, "energy drifts")
    known = known.with_columns(drift=pl.col("energy_drift") / pl.col("energy_drift_error"))
    look = Look.of(known, "side")
    x = _density(known["parameters_per_spin"])
    y = alt.Y(
        "drift:Q",
        title="drift / its error",
        scale=alt.Scale(nice=False, padding=8),
        axis=alt.Axis(tickCount=6),
    )
    lines = (
        alt.Chart(pl.DataFrame({"drift": [-3.0, 0.0]})).mark_rule(color=INK, strokeDash=[4, 3]).encode(y=y)
    )
    tooltip = [
        alt.Tooltip("label:N", title="side"),
        alt.Tooltip("cluster:N", title="trajectory"),
        alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
        alt.Tooltip("energy_drift:Q", title="J a step", format=".2e"),
        alt.Tooltip("drift:Q", title="in its errors", format=".2f"),
    ]
    base = alt.Chart(look.labelled(known)).encode(x=x, y=y, tooltip=tooltip)
    return styled(alt.layer(lines, *look.marks(base, "false", size=24, opacity=0.75)), height=330)


def branch_differences(table: pl.DataFrame, symbol: str) -> alt.LayerChart:
    """What the branch back up has more than the way down at the same mask, a mark each trajectory and density.

    Args:
        table: from `analysis.branch_differences`, one side and field.
        symbol: of the difference, as the axis has it.

    Raises:
        ValueError: no density has both branches.
    """
    refuse_nothing(table, "densities with both branches")
    names = {
        cluster: f"trajectory {place}" for place, cluster in enumerate(table["cluster"].unique().sort(), 1)
    }
    table = table.with_columns(
        label=pl.col("cluster").replace_strict(names, return_dtype=pl.String),
        low=pl.col("difference") - pl.col("error"),
        high=pl.col("difference") + pl.col("error"),
    )
    x = _density(table["parameters_per_spin"])
    y = channel(alt.Y, "difference", symbol, table["difference"], logarithmic=False)
    colour = alt.Color(
        "label:N",
        title=None,
        scale=alt.Scale(range=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]),
        legend=alt.Legend(columns=2),
    )
    shape = alt.Shape("label:N", title=None, legend=alt.Legend(columns=2))
    tooltip = [
        alt.Tooltip("cluster:N", title="trajectory"),
        alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("difference", "error")),
    ]
    base = alt.Chart(table)
    zero = alt.Chart(pl.DataFrame({"difference": [0.0]})).mark_rule(color=INK, strokeDash=[4, 3])
    return styled(
        alt.layer(
            zero.encode(y=y),
            base.transform_filter("datum.error > 0")
            .mark_rule()
            .encode(x=x, y=alt.Y("low:Q", title=symbol), y2="high:Q", color=colour),
            base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y, color=colour),
            base.mark_point(size=40, filled=True, opacity=1).encode(
                x=x, y=y, color=colour, shape=shape, tooltip=tooltip
            ),
        ),
        height=330,
    )


def _density(seen: pl.Series, field: str = "parameters_per_spin") -> alt.X:
    return channel(alt.X, field, HORIZONTAL["parameters_per_spin"], seen)
