"""Exact counts of the paper's tables, ties, and never fewer than one weight removed."""

import numpy as np
import pytest

from nqs.pruning import Candidates, random_mask, remaining_by_level, removed_count, scores_of, survivors


@pytest.mark.parametrize(
    "size, levels, left",
    # (Fig. 3) every trajectory of the paper ends with a handful of weights, never with none.
    [(2048, 51, 1), (5000, 58, 1), (10368, 64, 1), (19208, 69, 1), (32768, 65, 9), (52488, 74, 3)],
)
def test_the_papers_trajectories_end_with_these_counts(size, levels, left):
    counts = [size]
    for _ in range(levels):
        quotient, remainder = divmod(12 * counts[-1], 100)
        # Round half to even in integers, which owes nothing to floating point.
        removed = quotient + (remainder > 50 or (remainder == 50 and quotient % 2 == 1))
        counts.append(counts[-1] - max(1, removed))
    assert counts[-1] == left
    assert remaining_by_level((size,), 0.12, levels) == tuple(counts)


def test_halves_round_to_even():
    assert [removed_count(n, 0.5) for n in (1, 3, 5, 7)] == [1, 2, 2, 4]


def test_at_least_one_weight_goes():
    assert removed_count(3, 0.12) == 1


def test_a_used_up_layer_ends_the_counts():
    assert remaining_by_level((2, 100), 0.1, 5) == (102, 91, 0)


def test_of_equal_magnitudes_the_lower_index_goes_first():
    indices = np.array([2, 5, 7, 11, 13])
    values = np.array([1.0, -1.0, 3.0, 1.0, -1.0])
    np.testing.assert_array_equal(survivors(indices, np.abs(values), 0.4), [7, 11, 13])


def test_exactly_the_counted_number_goes_where_many_are_tied():
    """ "All up to the threshold" would remove every weight here."""
    kept = survivors(np.arange(50), np.full(50, 0.3), 0.12)
    np.testing.assert_array_equal(kept, np.arange(6, 50))


def test_random_masks_have_the_asked_number_of_different_weights_and_cover_evenly():
    generator = np.random.default_rng(1)
    counts = np.zeros(40)
    for _ in range(2000):
        mask = random_mask(generator, 40, 10)
        assert len(set(mask)) == 10 and np.all(np.diff(mask) > 0)
        counts[mask] += 1
    # Each weight is drawn 500 ± 19 times; five of its standard deviations.
    assert np.all(np.abs(counts - 500) < 5 * np.sqrt(2000 * 0.25 * 0.75))


def test_the_papers_residual_network_can_be_pruned_as_often_as_the_paper_says():
    """(Fig. 1c) 43 levels of 12 % of the blocks' 18432 weights."""
    counts = remaining_by_level((18432,), 0.12, 43)
    assert len(counts) == 44 and counts[:3] == (18432, 16220, 14274)


def kept_at_random(generator, positions, ratio):
    removed = removed_count(len(positions), ratio)
    candidates = Candidates(positions, positions + 0.5, positions + 0.5, removed, generator)
    return survivors(positions, scores_of("irp_wr", candidates), ratio)


def test_random_pruning_keeps_the_counted_number_and_every_weight_equally_often():
    generator = np.random.default_rng(2)
    positions, kept_times = np.arange(0, 60, 3), np.zeros(60)
    for _ in range(2000):
        kept = kept_at_random(generator, positions, 0.25)
        assert len(kept) == 15 and np.all(np.diff(kept) > 0)
        kept_times[kept] += 1
    assert not kept_times[np.arange(60) % 3 > 0].any()
    # Five standard deviations of the binomial.
    assert np.all(abs(kept_times[::3] - 1500) < 5 * np.sqrt(2000 * 0.75 * 0.25))


def test_random_pruning_removes_at_least_one():
    assert len(kept_at_random(np.random.default_rng(0), np.arange(3), 0.01)) == 2
