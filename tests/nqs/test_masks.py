"""Degrees, distances and overlaps of masks, against enumeration of everything that chance can give."""

import itertools
import math

import numpy as np
import pytest

from nqs import lattices, masks, toric_code
from nqs.pruning import random_mask
from nqs.tasks import LiveWeights


def all_masks(sites: int, units: int, live: int):
    """Every mask (sites, units) with so many live weights."""
    for chosen in itertools.combinations(range(sites * units), live):
        mask = np.zeros(sites * units, bool)
        mask[list(chosen)] = True
        yield mask.reshape(sites, units)


def some_mask(seed: int, sites: int, units: int, live: int) -> np.ndarray:
    mask = np.zeros(sites * units, bool)
    mask[random_mask(np.random.default_rng(seed), sites * units, live)] = True
    return mask.reshape(sites, units)


# --- masks of layers


def test_a_mask_has_the_live_weights_of_its_layer_and_not_the_zeros_of_a_built_one():
    live = LiveWeights((2, 3), np.array([1, 3, 5], np.int32), np.array([0.5, 0.0, -2.0]))
    np.testing.assert_array_equal(masks.mask_of(live), [[False, True, False], [False, False, True]])
    with pytest.raises(ValueError, match=r"shape \(3, 3, 1, 4\) has no mask"):
        masks.mask_of(LiveWeights((3, 3, 1, 4), np.arange(36), np.ones(36)))


# --- degrees


def test_degrees_count_live_weights_of_units_and_of_the_transpose_those_of_spins():
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 0]], bool)
    units, spins = masks.column_degrees(mask), masks.column_degrees(mask.T)
    assert units.degrees.tolist() == [3, 1, 0, 1] and spins.degrees.tolist() == [2, 2, 1]
    assert units.counts.tolist() == [1, 2, 0, 1] and spins.counts.tolist() == [0, 1, 2, 0, 0]
    assert (units.dead, spins.dead, units.mean) == (1, 0, 1.25)
    assert math.isclose(units.variance, np.mean([1.75**2, 0.25**2, 1.25**2, 0.25**2]))
    assert math.isclose(units.live_variance, np.var([3, 1, 1]))


@pytest.mark.parametrize("live", [1, 4, 7])
def test_expected_degrees_are_the_averages_over_all_masks_of_as_many_live_weights(live):
    found = [masks.column_degrees(mask) for mask in all_masks(3, 4, live)]
    counts = np.mean([degrees.counts for degrees in found], axis=0)
    variance = np.mean([degrees.variance for degrees in found])
    for degrees in (found[0], found[-1]):
        np.testing.assert_allclose(degrees.expected_counts, counts, rtol=1e-12)
        assert math.isclose(degrees.expected_dead, counts[0], rel_tol=1e-12)
        assert math.isclose(degrees.expected_variance, variance, rel_tol=1e-12)


def test_the_fixed_total_changes_the_binomial_variance_as_stated():
    sites, units, live = 16, 80, 242
    density = live / (sites * units)
    binomial = sites * density * (1 - density)
    expected = masks.column_degrees(some_mask(0, sites, units, live)).expected_variance
    ratio = (1 - 1 / units) / (1 - 1 / (sites * units))
    assert math.isclose(expected, binomial * ratio, rel_tol=1e-10)


def test_the_spread_of_a_random_masks_variance_is_as_stated():
    found = [masks.column_degrees(some_mask(seed, 16, 80, 242)).variance for seed in range(2000)]
    stated = masks.column_degrees(some_mask(0, 16, 80, 242)).variance_spread
    # A standard deviation of 2000 draws is known to 1.6 %; the formula drops terms of 1 / live weights a unit.
    assert math.isclose(np.std(found), stated, rel_tol=0.08)


@pytest.mark.parametrize(("columns", "live"), [(23, 41), (60, 250), (40, 620)])
def test_the_variance_of_live_units_is_that_of_masks_without_an_empty_column(columns, live):
    """Counted exactly: P(d) ∝ C(N, d) × the ways to put the rest on the other columns, none empty."""
    sites = 16

    def ways(count, total):
        # Inclusion and exclusion over columns left empty.
        return sum(
            (-1) ** empty * math.comb(count, empty) * math.comb(sites * (count - empty), total)
            for empty in range(count + 1)
        )

    weights = [math.comb(sites, d) * ways(columns - 1, live - d) for d in range(1, min(sites, live) + 1)]
    mean = live / columns
    exact = sum(w * (d - mean) ** 2 for d, w in enumerate(weights, 1)) / sum(weights)
    mask = np.zeros((sites, columns + 30), bool)
    mask[0, :columns] = True
    rest = np.zeros((sites - 1) * columns, bool)
    rest[: live - columns] = True
    mask[1:, :columns] = rest.reshape(sites - 1, columns)
    # Good to 1 / columns², a few in a thousand.
    assert math.isclose(masks.column_degrees(mask).expected_live_variance, exact, rel_tol=5e-3)


@pytest.mark.parametrize("live", [0, 5, 20])
def test_degrees_that_cannot_vary_have_no_variance(live):
    mask = np.zeros((4, 5), bool)
    mask[: live // 5] = True
    degrees = masks.column_degrees(mask)
    assert degrees.variance == degrees.live_variance == degrees.expected_live_variance == 0
    single = masks.column_degrees(mask[:, :1])
    assert single.expected_variance == single.variance_spread == 0


# --- distances within a unit


def test_distances_of_units_are_those_of_their_pairs(lattice):
    sites = len(lattice.distances)
    mask = some_mask(3, sites, 12, 3 * sites)
    means, ranges = [], []
    for unit in mask.T:
        pairs = [lattice.distances[i, j] for i, j in itertools.combinations(np.flatnonzero(unit), 2)]
        if pairs:
            means.append(np.mean(pairs))
            ranges.append(max(pairs))
    found = masks.unit_distances(mask, lattice)
    assert found.units == len(means)
    assert math.isclose(found.pair, np.mean(means), rel_tol=1e-12)
    assert math.isclose(found.range, np.mean(ranges), rel_tol=1e-12)
    spins = np.nonzero(mask)[0]
    any_two = [lattice.distances[i, j] for i, j in itertools.combinations(spins, 2) if i != j]
    assert math.isclose(found.weighted_pair, np.mean(any_two), rel_tol=1e-12)


def test_expectation_and_spread_are_those_of_all_placements(lattice):
    """Two units of different degrees: every set of spins for each, independently."""
    sites = len(lattice.distances)

    def placements(degree):
        return [
            np.mean([lattice.distances[i, j] for i, j in itertools.combinations(chosen, 2)])
            for chosen in itertools.combinations(range(sites), degree)
        ]

    for degrees in ((2, 3), (4, 5), (sites, sites)):
        mask = np.arange(sites)[:, None] < np.array(degrees)
        found = masks.unit_distances(mask, lattice)
        both = np.mean([(a, b) for a in placements(degrees[0]) for b in placements(degrees[1])], axis=1)
        assert math.isclose(found.expected_pair, both.mean(), rel_tol=1e-12)
        # A difference of squares: an exact 0 is known to the root of a rounding.
        assert math.isclose(found.pair_spread, both.std(), rel_tol=1e-9, abs_tol=1e-6)
        assert math.isclose(
            found.expected_range, np.mean([lattice.expected_ranges[d] for d in degrees]), rel_tol=1e-12
        )


def test_weights_on_some_spins_alone_are_told_from_local_units():
    """Units of two spins anywhere in a corner of four: near each other, but not nearer than any two weights."""
    lattice, corner = lattices.square(4, "open"), [0, 1, 4, 5]
    mask = np.zeros((16, 6), bool)
    for unit, pair in enumerate(itertools.combinations(corner, 2)):
        mask[list(pair), unit] = True
    found = masks.unit_distances(mask, lattice)
    assert found.pair < found.expected_pair - 2 * found.pair_spread
    assert math.isclose(found.pair, (4 + 2 * math.sqrt(2)) / 6)
    assert math.isclose(found.weighted_pair, found.pair)


def test_a_mask_without_pairs_has_no_distances_and_one_of_other_sites_is_refused():
    found = masks.unit_distances(np.eye(9, dtype=bool), lattices.square(3, "open"))
    assert found.units == 0 and all(math.isnan(value) for value in found[1:])
    with pytest.raises(ValueError, match="the mask has 9 sites; the lattice has 16"):
        masks.unit_distances(np.eye(9, dtype=bool), lattices.square(4, "open"))


# --- overlaps


def test_an_overlap_counts_what_is_live_in_both():
    first = np.array([[1, 1], [1, 0], [0, 0]], bool)
    second = np.array([[1, 1], [0, 1], [0, 1]], bool)
    found = masks.overlap(first, second)
    assert (found.shared, found.fraction, found.jaccard) == (2, 2 / 3, 2 / 5)
    # With the units exchanged it is {0, 1} in {0, 1, 2}, and {0} in {0}.
    best = masks.best_overlap(first, second)
    assert (best.shared, best.fraction, best.jaccard, best.units.tolist()) == (3, 1.0, 0.75, [1, 0])


def test_the_overlap_of_an_empty_mask_is_no_number_and_of_other_shapes_an_error():
    empty = np.zeros((3, 2), bool)
    assert masks.overlap(empty, empty).shared == 0
    assert math.isnan(masks.overlap(empty, ~empty).fraction) and math.isnan(
        masks.overlap(empty, empty).jaccard
    )
    for compare in (masks.overlap, masks.best_overlap):
        with pytest.raises(ValueError, match=r"shapes \(3, 2\) and \(2, 3\)"):
            compare(empty, empty.T)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_match_is_the_best_of_all_permutations(seed):
    first, second = some_mask(seed, 6, 5, 12), some_mask(seed + 50, 6, 5, 14)
    shared = [(first & second[:, list(order)]).sum() for order in itertools.permutations(range(5))]
    found = masks.best_overlap(first, second)
    assert found.shared == max(shared) > masks.overlap(first, second).shared
    assert (first & second[:, found.units]).sum() == found.shared


def test_a_permutation_of_units_and_an_operation_are_found_again():
    lattice, generator = lattices.square(4, "open"), np.random.default_rng(5)
    operations = lattices.symmetries(lattice)
    first = some_mask(1, 16, 40, 200)
    for operation in operations:
        order = generator.permutation(40)
        second = first[np.argsort(operation)][:, order]
        found = masks.best_overlap(first, second, operations)
        assert found.fraction == found.jaccard == 1
        np.testing.assert_array_equal(second[operations[found.operation]][:, found.units], first)
    # The last operation is not the identity: without it not all is found.
    assert masks.best_overlap(first, second).fraction < 1


# --- masks by chance


def test_random_spins_keep_the_degrees_of_units_and_take_every_set_equally_often():
    generator, mask = np.random.default_rng(0), np.array([[1, 1], [0, 1], [0, 0], [0, 0]], bool)
    drawn = [masks.random_spins(generator, mask) for _ in range(2400)]
    assert all((draw.sum(0) == [1, 2]).all() for draw in drawn)
    assert_equally_often(drawn, 4 * 6)


def test_random_partners_keep_both_degrees_and_take_every_such_mask_equally_often():
    mask = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], bool)
    every = [m for m in all_masks(3, 3, 5) if (m.sum(0) == [2, 2, 1]).all() and (m.sum(1) == [2, 1, 2]).all()]
    generator = np.random.default_rng(1)
    drawn = [masks.random_partners(generator, mask) for _ in range(1000)]
    assert {draw.tobytes() for draw in drawn} == {m.tobytes() for m in every}
    assert_equally_often(drawn, len(every))


def assert_equally_often(drawn: list[np.ndarray], kinds: int) -> None:
    """Chi-square within four standard deviations of its mean; the draws are seeded."""
    _, counts = np.unique([draw.ravel() for draw in drawn], axis=0, return_counts=True)
    assert len(counts) == kinds
    expected = len(drawn) / kinds
    assert ((counts - expected) ** 2 / expected).sum() < kinds - 1 + 4 * math.sqrt(2 * (kinds - 1))


def test_random_images_keep_the_shape_of_every_unit_and_move_each_on_its_own():
    lattice = lattices.toric_code_edges(3)
    mask = np.zeros((18, 9), bool)
    for unit, edges in enumerate(toric_code.plaquettes(3)):
        mask[edges, unit] = True
    plaquettes = {unit.tobytes() for unit in mask.T}
    drawn = masks.random_images(lattices.symmetries(lattice))(np.random.default_rng(2), mask)
    assert {unit.tobytes() for unit in drawn.T} < plaquettes  # not all: each was moved on its own
    assert masks.unit_distances(drawn, lattice).pair == pytest.approx(
        masks.unit_distances(mask, lattice).pair
    )


def test_masks_that_are_random_are_no_more_alike_than_chance():
    """60 pairs of independent masks: excesses of mean 0 and spread 1, p-values evenly spread."""
    generator, found = np.random.default_rng(11), []
    for seed in range(60):
        first, second = some_mask(seed, 9, 12, 40), some_mask(seed + 500, 9, 12, 40)
        found.append(masks.against_chance(generator, first, second, draws=40))
    excess = np.array([chance.excess for chance in found])
    # Four standard errors; 40 draws widen the spread by a few per cent.
    assert abs(excess.mean()) < 4 / math.sqrt(60)
    assert 0.7 < excess.std() < 1.4
    assert 0.3 < np.mean([chance.p_value for chance in found]) < 0.75


def test_the_mean_by_chance_is_that_over_all_random_masks():
    first = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], bool)
    second = np.array([[1, 0], [0, 1], [0, 1], [0, 0]], bool)
    every = [
        max((first & mask).sum(), (first & mask[:, ::-1]).sum()) / 3
        for mask in all_masks(4, 2, 3)
        if (mask.sum(0) == [1, 2]).all()
    ]
    chance = masks.against_chance(np.random.default_rng(3), first, second, draws=4000)
    assert abs(chance.mean - np.mean(every)) < 4 * chance.spread / math.sqrt(4000)
    assert math.isclose(chance.spread, np.std(every), rel_tol=0.05)
    assert math.isclose(chance.p_value, np.mean(np.array(every) >= chance.fraction), abs_tol=0.03)


def test_a_mask_in_disguise_is_told_from_chance_and_an_operation_helps_both_sides():
    operations = lattices.symmetries(lattices.square(3, "open"))
    first = some_mask(8, 9, 12, 40)
    second = first[operations[3]][:, ::-1]
    chance = masks.against_chance(np.random.default_rng(4), first, second, draws=40, operations=operations)
    assert chance.fraction == 1 and chance.excess > 5
    assert math.isclose(chance.p_value, 1 / 41)
    plain = masks.against_chance(np.random.default_rng(4), first, second, draws=40)
    assert chance.mean > plain.mean


def test_a_spread_needs_two_draws():
    with pytest.raises(ValueError, match="draws is 1; a spread needs at least 2"):
        masks.against_chance(np.random.default_rng(0), *[np.eye(2, dtype=bool)] * 2, draws=1)
