"""A training while it goes on."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.charts.axes import channel
from explorer.charts.look import INK, PAPER, SCHEME_ON_PAPER, Look, refuse_nothing, styled


def training_curve(
    steps: pl.DataFrame, sites: int, reference: float | None, above_reference: bool = False
) -> alt.LayerChart:
    """Energy per spin against training step of one run, a colour a level, with the reference energy.

    Args:
        steps: rows of the table `steps` of one run.
        sites: number of spins N.
        reference: total reference energy, drawn as a dashed line; None where there is none.
        above_reference: the distance from the reference on a logarithmic axis instead, |E − E₀| / N; marks of sampled
            energies below it are open.

    Raises:
        ValueError: no step is recorded, or the distance from no reference is asked for.
    """
    refuse_nothing(steps, "training steps")
    if above_reference and reference is None:
        raise ValueError("there is no reference energy to measure from")
    origin = reference if above_reference else 0.0
    per_spin = steps.select(
        "level",
        "step",
        "acceptance",
        energy=(pl.col("energy") - origin) / sites,
        error=pl.col("energy_error") / sites,
    ).with_columns(below=pl.lit(above_reference) & (pl.col("energy") < 0))
    if above_reference:
        per_spin = per_spin.with_columns(pl.col("energy").abs()).filter(pl.col("energy") > 0)
        quantity, digits = "|E − E₀| / N", ".3g"
        y = channel(alt.Y, "energy", f"{quantity}   (J)", per_spin["energy"])
    else:
        quantity, digits = "E / N", ".6f"
        y = alt.Y("energy:Q", title=f"{quantity}   (J)", scale=alt.Scale(zero=False, nice=False, padding=8))
    low = pl.col("energy") - pl.col("error")
    per_spin = per_spin.with_columns(
        # A logarithm has no place for a bar that reaches below zero; it ends where the marks do.
        low=low.clip(lower_bound=per_spin["energy"].min()) if above_reference else low,
        high=pl.col("energy") + pl.col("error"),
    )
    x = channel(alt.X, "step", "training step", steps["step"])
    legend = alt.Legend(format="d", tickMinStep=1) if per_spin["level"].n_unique() > 1 else None
    colour = alt.Color("level:Q", title="level", scale=alt.Scale(scheme=SCHEME_ON_PAPER), legend=legend)
    base = alt.Chart(per_spin.drop("error"))
    tooltip = [
        "level:Q",
        "step:Q",
        alt.Tooltip("energy:Q", title=quantity, format=digits),
        alt.Tooltip("acceptance:Q", format=".2f"),
    ]
    marks = base.encode(x=x, y=y, color=colour, tooltip=tooltip)
    layers = [
        base.mark_line(strokeWidth=0.8, opacity=0.4).encode(x=x, y=y, color=colour, detail="level:N"),
        base.mark_rule(opacity=0.35).encode(x=x, y=y, y2="high:Q", color=colour),
        base.mark_rule(opacity=0.35).encode(x=x, y=y, y2="low:Q", color=colour),
        marks.transform_filter("!datum.below").mark_point(size=14, filled=True, opacity=0.8),
    ]
    if above_reference:
        layers.append(
            marks.transform_filter("datum.below").mark_point(
                size=14, filled=False, fill=PAPER, strokeWidth=1, opacity=0.8
            )
        )
    elif reference is not None:
        line = alt.Chart(pl.DataFrame({"energy": [reference / sites]}))
        layers.append(line.mark_rule(color=INK, strokeDash=[4, 3]).encode(y=y))
    return styled(alt.layer(*layers))


def training_by_method(steps: pl.DataFrame, sites: int, reference: float | None) -> alt.LayerChart:
    """Energy per spin against training step of one level, one line for each pruning method.

    Args:
        steps: rows of the table `steps` with the column `method`, of one level.
        sites: number of spins N.
        reference: total reference energy, drawn as a dashed line; None where there is none.

    Raises:
        ValueError: no step is recorded.
    """
    refuse_nothing(steps, "training steps")
    look = Look.of(steps, "method")
    per_spin = steps.with_columns(
        energy=pl.col("energy") / sites,
        low=(pl.col("energy") - pl.col("energy_error")) / sites,
        high=(pl.col("energy") + pl.col("energy_error")) / sites,
    )
    x = channel(alt.X, "step", "training step of the level", steps["step"])
    scale = alt.Scale(zero=False, nice=False, padding=8)
    y, low = (alt.Y(f"{field}:Q", title="E / N   (J)", scale=scale) for field in ("energy", "low"))
    tooltip = [
        alt.Tooltip("label:N", title="method"),
        "step:Q",
        alt.Tooltip("energy:Q", title="E / N", format=".6f"),
    ]
    base = alt.Chart(look.labelled(per_spin.select("method", "step", "energy", "low", "high")))
    band = base.mark_area(opacity=0.14).encode(x=x, y=low, y2="high:Q")
    layers = [
        band.encode(color=look.colour),
        base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y, color=look.colour),
        *look.marks(base.encode(x=x, y=y, tooltip=tooltip), "false", size=16, opacity=0.9),
    ]
    if reference is not None:
        line = alt.Chart(pl.DataFrame({"energy": [reference / sites]}))
        layers.append(line.mark_rule(color=INK, strokeDash=[4, 3]).encode(y=y))
    return styled(alt.layer(*layers))
