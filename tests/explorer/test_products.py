"""Spin–spin correlations and Wilson loops as a page has them."""

import polars as pl
import pytest

from explorer import analysis, captions, charts, headlines


def networks(errors) -> pl.DataFrame:
    """Three levels with correlations at r = 1, 2, 3, the last one without any."""
    means = [[0.5, 0.2, 0.1], [0.4, 0.1, -0.05], None]
    return pl.DataFrame(
        {
            "run_id": ["d", "t", "t"],
            "level": [0, 3, 7],
            "parameters_per_spin": [64.0, 12.5, 3.0],
            "estimator": ["sampling"] * 3,
            "correlation_z": means,
            "correlation_z_error": [mean and errors for mean in means],
        }
    )


def test_each_distance_has_its_mean_and_interval_and_an_exact_one_has_none():
    table = analysis.product_means(networks([0.01, 0.0, 0.02]), analysis.CORRELATION, confidence=0.95)
    assert table.select("level", "distance", "mean").rows() == [
        (0, 1, 0.5), (0, 2, 0.2), (0, 3, 0.1), (3, 1, 0.4), (3, 2, 0.1), (3, 3, -0.05)
    ]  # fmt: skip
    third = table.row(2, named=True)
    assert third["low"] == pytest.approx(0.1 - 1.96 * 0.02, abs=1e-4)
    assert table["low"].is_null().to_list() == [False, True, False] * 2
    svg = charts.svg(charts.products(table, ("r", "C")))
    assert svg.count('aria-roledescription="point"') == 6
    assert headlines.product_headline(table, 3, "C is", "r").replace("\N{NO-BREAK SPACE}", " ") == (
        "Level 3: C is 0.400(10) at r = 1 and −0.05(2) at r = 3"
    )
    assert "level 0: 64, level 3: 12.5" in captions.product_caption(table, "C")


def test_the_shown_level_stands_beside_the_densest_and_the_sparsest():
    of_run = pl.DataFrame({"level": [0, 1, 2, 3, 4]})
    assert analysis.beside_dense_and_sparsest(of_run, 2)["level"].to_list() == [0, 2, 4]
    assert analysis.beside_dense_and_sparsest(of_run, 4)["level"].to_list() == [0, 4]
