"""Axes with the ticks of a paper's figure, and what they must span."""

from __future__ import annotations

import math
from collections.abc import Iterable

import altair as alt
import polars as pl

from explorer.numbers import SUPERSCRIPTS

# How far beyond the marks intervals may stretch a logarithmic axis; what reaches further is cut.
INTERVAL_ROOM = 10.0


def seen_by(marks: pl.Series, intervals: pl.DataFrame, logarithmic: bool = True) -> pl.Series:
    """What a vertical axis must span: all marks, and intervals (columns low, high) near them.

    Student's t over two trajectories at 95 % has a half-width of nine times their spread; on a
    logarithmic axis that would press what was measured into a line.
    """
    ends = pl.concat([intervals["low"], intervals["high"]]).drop_nulls()
    if logarithmic:
        ends = ends.clip(marks.min() / INTERVAL_ROOM, marks.max() * INTERVAL_ROOM)
    return pl.concat([marks, ends])


def channel(kind: type, field: str, title: str, seen: pl.Series, logarithmic: bool = True):
    """An x or y channel that spans what is seen, logarithmic with the ticks of a paper's figure."""
    if not logarithmic:
        scale = alt.Scale(zero=False, nice=False, padding=8)
        return kind(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6))
    seen = seen.drop_nulls()
    low, high = seen.min(), seen.max()
    # Room for half a mark at both ends; whole decades would leave much of the frame empty.
    room = max(1.06, (high / low) ** 0.03)
    return kind(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(type="log", domain=[low / room, high * room], nice=False),
        axis=_logarithmic_axis(low / room, high * room),
    )


def tick_labels(low: float, high: float) -> dict[float, str]:
    """Labelled ticks of a logarithmic axis: powers of ten, and 2, 3, 5 where decades are few."""
    digits = (1,) if _is_wide(low, high) else (1, 2, 3, 5)
    return {tick: _tick_label(tick, low, high) for tick in _ticks(low, high, digits)}


def _logarithmic_axis(low: float, high: float) -> alt.Axis:
    """Ticks at 1 … 9 of each decade, fewer where decades are many; the labelled ones are long."""
    labels = tick_labels(low, high)
    # Vega computes ticks in floating point, so a label finds its tick by ratio.
    is_tick = {tick: f"abs(datum.value / {tick!r} - 1) < 1e-6" for tick in labels}
    text = " : ".join(f"{is_tick[tick]} ? '{label}'" for tick, label in labels.items())
    is_labelled = " || ".join(is_tick.values()) or "false"
    return alt.Axis(
        values=_ticks(low, high, range(1, 10) if math.log10(high / low) < 8 else (1,)),
        labelExpr=f"{text} : ''" if text else "''",
        labelOverlap="greedy",
        gridOpacity=alt.condition(is_labelled, alt.value(1), alt.value(0)),
        tickSize=alt.condition(is_labelled, alt.value(5), alt.value(2.5)),
    )


def _ticks(low: float, high: float, digits: Iterable[int]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


def _is_wide(low: float, high: float) -> bool:
    return math.log10(high / low) > 3.5


def _tick_label(tick: float, low: float, high: float) -> str:
    if 1e-2 <= tick < 1e4 and not _is_wide(low, high):
        return f"{tick:g}"
    digit, exponent = f"{tick:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return power if digit == "1" else f"{digit}·{power}"
