"""Layouts: counts decide the program, and no weight is lost or doubled by the padding."""

import numpy as np
import pytest

from nqs.layouts import (
    COLUMN_CHUNK,
    ListLayout,
    RowLayout,
    choose_layout,
    list_layout,
    live_bucket,
    row_layout,
)


def test_the_smaller_solve_is_chosen():
    assert live_bucket(1025, samples=1024) is None
    assert live_bucket(1024, samples=1024) == 1024
    assert live_bucket(65, samples=1024) == 128
    assert live_bucket(64, samples=1024) == 64
    assert live_bucket(40, samples=48) == 48  # never more than the samples


@pytest.mark.parametrize(
    "live, kind", [(2048, RowLayout), (951, RowLayout), (500, ListLayout), (16, ListLayout)]
)
def test_dense_networks_get_rows_and_sparse_ones_lists(live, kind):
    indices = np.sort(np.random.default_rng(0).choice(2048, live, replace=False))
    assert isinstance(choose_layout((16, 128), indices, 1024), kind)


def test_a_whole_trajectory_needs_eight_live_lengths_at_most():
    assert len({live_bucket(n, 1024) for n in range(1, 80_001)}) <= 8


@pytest.mark.parametrize("live", [1, 17, 60])
def test_lists_hold_every_live_weight_once_and_nothing_else(live):
    indices = np.sort(np.random.default_rng(live).choice(60, live, replace=False))
    layout = list_layout((6, 10), indices, 64)
    listed = layout.weight_list[layout.weight_list < 64]
    assert sorted(listed) == list(range(live))
    real_units = np.unique(indices % 10)
    for site, (weights, units) in enumerate(zip(layout.weight_list, layout.unit_list)):
        own = weights < 64
        assert np.all(indices[weights[own]] // 10 == site)
        assert np.all(real_units[units[own]] == indices[weights[own]] % 10)
        assert np.all(units[~own] == len(layout.unit_is_live) - 1)
    assert layout.unit_is_live.sum() == len(real_units) and not layout.unit_is_live[-1]


def test_too_many_weights_for_a_bucket_are_refused():
    with pytest.raises(ValueError, match="17 live weights do not fit a bucket of 16"):
        list_layout((6, 10), np.arange(17), 16)


@pytest.mark.parametrize("live, sign", [(3000, -1), (1000, 1)])
def test_the_fewer_columns_are_listed(live, sign):
    indices = np.sort(np.random.default_rng(0).choice(4000, live, replace=False))
    layout = row_layout((20, 200), indices)
    assert layout.column_sign == sign and layout.hadamard == (sign < 0)
    assert layout.column_chunks == -(-1000 // COLUMN_CHUNK)
    assert np.sum(layout.column_units < 200) == 1000
