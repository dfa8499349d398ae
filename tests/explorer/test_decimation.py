"""Fewer marks, the same picture."""

import numpy as np
import polars as pl
import pytest

from explorer import analysis, captions
from explorer.analysis import QUANTITIES, thinned


def marks(groups: int, each: int) -> pl.DataFrame:
    values = np.random.default_rng(3).standard_normal(groups * each)
    return pl.DataFrame({"curve": np.repeat(np.arange(groups), each), "drawn": values})


def test_few_marks_all_stay():
    given = marks(10, 30)
    assert thinned(given, "drawn", ("curve",), most=300).equals(given)


@pytest.mark.parametrize(
    ("each", "most", "kept"), [(500, 100, 10), (37, 100, 10), (11, 100, 10), (500, 4, 2)]
)
def test_every_group_keeps_its_ends_and_so_many_marks(each, most, kept):
    given = marks(10, each)
    left = thinned(given, "drawn", ("curve",), most)
    assert left.group_by("curve").len()["len"].to_list() == [kept] * 10
    for end in (pl.min("drawn"), pl.max("drawn")):
        assert (
            left.group_by("curve")
            .agg(end)
            .sort("curve")
            .equals(given.group_by("curve").agg(end).sort("curve"))
        )


def test_the_marks_between_have_equally_spaced_ranks():
    given = (
        marks(1, 1001)
        .with_columns(drawn=pl.Series(range(1001), dtype=pl.Float64))
        .sample(fraction=1, shuffle=True, seed=1)
    )
    left = thinned(given, "drawn", ("curve",), most=11)
    assert left["drawn"].sort().to_list() == [100.0 * k for k in range(11)]


def test_a_caption_says_where_not_every_network_is_drawn():
    points = pl.DataFrame(
        {
            "trajectories": [2, 2],
            "networks": [2, analysis.MOST_MARKS],
            "interval": [analysis.NO_INTERVAL] * 2,
            "negative": [0, 0],
            "at_rounding": [0, 0],
        }
    )
    quantity = QUANTITIES["fidelity"]
    assert "small marks: of each point's networks the lowest" in captions.point_caption(
        points, quantity, 0.68
    )
    assert "small marks: each network." in captions.point_caption(points.head(1), quantity, 0.68)
