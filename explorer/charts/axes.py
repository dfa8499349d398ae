"""Axes with the ticks of a paper's figure, and what they must span."""

from __future__ import annotations

import math
from collections.abc import Iterable

import altair as alt
import polars as pl

from explorer.numbers import SUPERSCRIPTS

# How far beyond the marks intervals may stretch a logarithmic axis; what reaches further is cut.
INTERVAL_ROOM = 10.0

# Decades from which on powers of ten alone are labelled, and from which on they alone have ticks.
_WIDE, _MOST_DECADES = 3.5, 8
_FEW_DIGITS = (1, 2, 3, 5)
# How far a zoomable axis has ticks on both sides.
_DECADES_BEYOND = 1


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
    digits = (1,) if _is_wide(low, high) else _FEW_DIGITS
    return {tick: _tick_label(tick, low, high) for tick in _ticks(low, high, digits)}


def zoomable_axis(axis: alt.Axis, low: float, high: float, scale: str) -> alt.Axis:
    """A logarithmic axis of `channel` whose labels follow the domain when a reader changes it.

    Args:
        axis: from low to high at first.
        scale: the name of its scale, x or y.
    """
    decades = f"(log(domain('{scale}')[1] / domain('{scale}')[0]) / LN10)"
    # Ticks beyond the frame are not drawn, and are there when it moves.
    ends = low / 10**_DECADES_BEYOND, high * 10**_DECADES_BEYOND
    powers, some, all_digits = (
        _label_expression({tick: _tick_label(tick, low, high) for tick in _ticks(*ends, digits)})
        for digits in ((1,), _FEW_DIGITS, range(1, 10))
    )
    narrow = min(1.0, 0.8 * math.log10(high / low))
    zoomable = axis.copy(deep=False)
    zoomable.values = _ticks(*ends, _tick_digits(low, high))
    zoomable.labelExpr = (
        f"{decades} > {_WIDE} ? ({powers}) : {decades} > {narrow:.3g} ? ({some}) : ({all_digits})"
    )
    return zoomable


def _logarithmic_axis(low: float, high: float) -> alt.Axis:
    """Ticks at 1 … 9 of each decade, fewer where decades are many; the labelled ones are long."""
    labels = tick_labels(low, high)
    is_labelled = " || ".join(map(_is_tick, labels)) or "false"
    return alt.Axis(
        values=_ticks(low, high, _tick_digits(low, high)),
        labelExpr=_label_expression(labels),
        labelOverlap="greedy",
        gridOpacity=alt.condition(is_labelled, alt.value(1), alt.value(0)),
        tickSize=alt.condition(is_labelled, alt.value(5), alt.value(2.5)),
    )


def _is_tick(tick: float) -> str:
    # Vega computes ticks in floating point, so a label finds its tick by ratio.
    return f"abs(datum.value / {tick!r} - 1) < 1e-6"


def _label_expression(labels: dict[float, str]) -> str:
    return " : ".join([*(f"{_is_tick(tick)} ? '{label}'" for tick, label in labels.items()), "''"])


def _tick_digits(low: float, high: float) -> Iterable[int]:
    return range(1, 10) if math.log10(high / low) < _MOST_DECADES else (1,)


def _ticks(low: float, high: float, digits: Iterable[int]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


def _is_wide(low: float, high: float) -> bool:
    return math.log10(high / low) > _WIDE


def _tick_label(tick: float, low: float, high: float) -> str:
    if 1e-2 <= tick < 1e4 and not _is_wide(low, high):
        return f"{tick:g}"
    digit, exponent = f"{tick:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return power if digit == "1" else f"{digit}·{power}"
