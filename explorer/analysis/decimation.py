"""Fewer marks than networks, where a chart would have more than a browser draws and an eye tells apart."""

from __future__ import annotations

import polars as pl

# What a browser still pans and zooms at once.
MOST_MARKS = 1500


def thinned(marks: pl.DataFrame, value: str, by: tuple[str, ...], most: int = MOST_MARKS) -> pl.DataFrame:
    """At most about so many marks, of each group the same number at most: its ends and equally spaced ranks between.

    So the smallest and the largest value of every group stay, and its distribution looks the same. Where there are
    few enough marks, all stay. Groups are never emptied: with more groups than `most` / 2 each keeps its two ends.

    Args:
        marks: one row a mark.
        value: column that the ranks are of.
        by: columns that tell the groups apart, a curve's densities say.
        most: number of marks to keep.
    """
    if marks.height <= most:
        return marks
    kept = max(2, most // marks.select(by).unique().height)
    rank = pl.col(value).rank("ordinal").over(by) - 1
    last = pl.len().over(by) - 1
    # Of ranks 0 … last the `kept` at which rank · (kept − 1) / last passes an integer.
    place = (rank * (kept - 1)) // last.clip(lower_bound=1)
    before = ((rank - 1) * (kept - 1)) // last.clip(lower_bound=1)
    return marks.filter((last < kept) | (rank == 0) | (place != before))
