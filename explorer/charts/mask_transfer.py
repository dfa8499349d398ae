"""Masks carried to another field, as a table of colours."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.charts.look import ON_DARK_COLOUR, ON_PALE_COLOUR, PAPER, refuse_nothing, styled
from explorer.headlines import short_factor

# The control row of transferred masks.
RANDOM_MASK = "random"


def mask_transfer(table: pl.DataFrame) -> alt.LayerChart:
    """Errors over those of the field's own mask: field of training across, field of the mask upwards.

    Args:
        table: from `analysis.mask_transfer`, of one side and level: one variant, and random masks.

    Raises:
        ValueError: no ticket has a ratio.
    """
    table = table.drop_nulls("ratio")
    refuse_nothing(table, "transferred masks")
    fields = [f"{field:g}" for field in sorted(set(table["field"]) | set(table["mask_field"]))]
    found_at = pl.col("mask_field").map_elements("{:g}".format, return_dtype=pl.String)
    table = table.with_columns(
        trained=pl.col("field").map_elements("{:g}".format, return_dtype=pl.String),
        mask=pl.when(pl.col("series") == "init_rand").then(pl.lit(RANDOM_MASK)).otherwise(found_at),
        factor=pl.col("ratio").map_elements(short_factor, return_dtype=pl.String),
        decades=pl.col("ratio").log10(),
    )
    widest = max(1.0, float(table["decades"].abs().max()))
    base = alt.Chart(table).encode(
        x=alt.X("trained:N", sort=fields, title="trained at h", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("mask:N", sort=[RANDOM_MASK, *reversed(fields)], title="mask found at h"),
    )
    colour = alt.Color(
        "decades:Q",
        title="log₁₀ of the ratio",
        scale=alt.Scale(scheme="blueorange", domain=[-widest, widest], domainMid=0),
    )
    tooltip = [
        *(alt.Tooltip("trained:N", title="trained at h"), alt.Tooltip("mask:N", title="mask found at h")),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("ratio", "ratio_low", "ratio_high")),
        alt.Tooltip("estimate:Q", title="relative error", format=".3e"),
        *(alt.Tooltip("trajectories:Q"), alt.Tooltip("networks:Q")),
    ]
    dark = f"abs(datum.decades) > {0.6 * widest}"
    text = alt.condition(dark, alt.value(ON_DARK_COLOUR), alt.value(ON_PALE_COLOUR))
    return styled(
        alt.layer(
            base.mark_rect(stroke=PAPER, strokeWidth=2).encode(color=colour, tooltip=tooltip),
            base.mark_text(fontSize=15).encode(text="factor:N", color=text),
        )
    )
