"""Layouts: counts decide the program, and no weight is lost or doubled by the padding."""

import numpy as np
import pytest

from nqs.layouts import (
    COLUMN_CHUNK,
    WEIGHTED_COLUMNS,
    ListLayout,
    RowLayout,
    choose_layout,
    list_layout,
    live_bucket,
    row_layout,
)
from nqs.pruning import remaining_by_level


def test_the_smaller_solve_is_chosen():
    assert live_bucket(1025, samples=1024) is None
    assert live_bucket(1000, samples=1024) is None  # would be padded to the samples
    assert live_bucket(800, samples=1024) == 832
    assert live_bucket(65, samples=1024) == 128
    assert live_bucket(64, samples=1024) == 64
    assert live_bucket(40, samples=48) is None


@pytest.mark.parametrize(
    "live, kind", [(2048, RowLayout), (951, RowLayout), (500, ListLayout), (16, ListLayout)]
)
def test_dense_networks_get_rows_and_sparse_ones_lists(live, kind):
    indices = np.sort(np.random.default_rng(0).choice(2048, live, replace=False))
    assert isinstance(choose_layout((16, 128), indices, 1024, compiled=True), kind)


@pytest.mark.parametrize("size, levels", [(2048, 51), (10368, 64), (80000, 74)])
def test_a_whole_trajectory_needs_fewer_than_ten_programs(size, levels):
    """Programs differ by the shapes of the layout alone; masks, counts and signs are data."""
    generator = np.random.default_rng(1)
    shapes = set()
    for live in remaining_by_level((size,), 0.12, levels):
        indices = np.sort(generator.choice(size, live, replace=False))
        layout = choose_layout((16, size // 16), indices, 1024, compiled=True)
        arrays = [a for a in layout if a is not None and not isinstance(a, tuple)] + list(layout.lists)
        shapes.add((type(layout), *(np.shape(a) for a in arrays)))
    assert 2 < len(shapes) < 10


@pytest.mark.parametrize("live", [1, 17, 60])
def test_padded_lists_hold_every_live_weight_once_and_nothing_else(live):
    indices = np.sort(np.random.default_rng(live).choice(60, live, replace=False))
    layout = list_layout((6, 10), indices, 64, compiled=False)
    lists = layout.padded
    assert sorted(lists.weights[lists.weights < 64]) == list(range(live))
    real_units = np.unique(indices % 10)
    assert np.all(lists.weights[6] == 64)  # the padding of lists of sites has no weights
    for site, (weights, units) in enumerate(zip(lists.weights[:6], lists.units[:6])):
        own = weights < 64
        assert np.all(indices[weights[own]] // 10 == site)
        assert np.all(real_units[units[own]] == indices[weights[own]] % 10)
        assert np.all(units[~own] == layout.units - 1)


@pytest.mark.parametrize("live", [1, 17, 60])
def test_site_lists_hold_every_live_weight_once(live):
    indices = np.sort(np.random.default_rng(live).choice(60, live, replace=False))
    rows, lists = row_layout((6, 10), indices, True), list_layout((6, 10), indices, 64, True)
    real_units = np.unique(indices % 10)
    for own, units in ((rows.lists, np.arange(10)), (lists.lists, real_units)):
        assert own.starts[0] == 0 and own.starts[6] == own.starts[7] == live
        for site in range(6):
            entries = slice(own.starts[site], own.starts[site + 1])
            mine = indices[indices // 10 == site]
            np.testing.assert_array_equal(units[own.units[entries]], mine % 10)
    np.testing.assert_array_equal(rows.lists.positions[:live], indices)
    np.testing.assert_array_equal(lists.lists.positions[:live], np.arange(live))


def test_too_many_weights_for_a_bucket_are_refused():
    with pytest.raises(ValueError, match="17 live weights do not fit a bucket of 16"):
        list_layout((6, 10), np.arange(17), 16, True)


@pytest.mark.parametrize("live, sign", [(3000, -1), (1000, 1)])
def test_the_fewer_columns_are_listed(live, sign):
    indices = np.sort(np.random.default_rng(0).choice(4000, live, replace=False))
    layout = row_layout((20, 200), indices, True)
    assert layout.column_sign == sign and layout.hadamard == (sign < 0)
    assert layout.column_chunks == -(-1000 // COLUMN_CHUNK)
    assert np.sum(layout.column_units < 200) == 1000
    listed = layout.column_sites[:1000] * 200 + layout.column_units[:1000]
    expected = indices if sign > 0 else np.setdiff1d(np.arange(4000), indices)
    np.testing.assert_array_equal(np.sort(listed), expected)
    np.testing.assert_array_equal(layout.column_degrees, np.bincount(expected % 200, minlength=200))
    assert layout.weighted == (1000 > WEIGHTED_COLUMNS * 200)
