"""Where spins are, how far apart, and which permutations keep that, against loops over all of them."""

import itertools
import math

import numpy as np
import pytest

from nqs import lattices, toric_code


def test_distances_are_the_shortest_ways_around():
    assert lattices.chain(6, "open").distances[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert lattices.chain(7, "periodic").distances[0].tolist() == [0, 1, 2, 3, 3, 2, 1]
    for boundary in ("open", "periodic"):
        distances = lattices.square(4, boundary).distances
        shifts = (0,) if boundary == "open" else (-4, 0, 4)
        for i, j in itertools.product(range(16), repeat=2):
            ways = [
                math.hypot(i // 4 - j // 4 + across, i % 4 - j % 4 + along)
                for across in shifts
                for along in shifts
            ]
            assert math.isclose(distances[i, j], min(ways), abs_tol=1e-15)


@pytest.mark.parametrize("side", [3, 4])
def test_edges_around_a_plaquette_or_a_star_are_neighbours_on_the_torus(side):
    """Their midpoints are the corners of a square of area ½, two of the six pairs across it."""
    distances = lattices.toric_code_edges(side).distances
    for four in (*toric_code.plaquettes(side), *toric_code.stars(side)):
        pairs = sorted(distances[i, j] for i, j in itertools.combinations(four, 2))
        np.testing.assert_allclose(pairs, [math.sqrt(0.5)] * 4 + [1, 1], rtol=1e-15)


def test_the_expected_range_is_the_mean_over_all_sets_and_absent_where_they_are_too_many(lattice):
    sites = len(lattice.distances)
    for size in range(2, sites + 1):
        sets = itertools.combinations(range(sites), size)
        ranges = [max(lattice.distances[i, j] for i, j in itertools.combinations(s, 2)) for s in sets]
        assert math.isclose(lattice.expected_ranges[size], np.mean(ranges), rel_tol=1e-12)
    assert np.isnan(lattice.expected_ranges[:2]).all()
    assert np.isfinite(lattices.square(10, "open").expected_ranges).tolist()[:5] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_symmetries_are_all_that_keep_distances(lattice):
    operations = lattices.symmetries(lattice)
    for operation in operations:
        moved = lattice.distances[np.ix_(operation, operation)]
        np.testing.assert_allclose(moved, lattice.distances, rtol=1e-15)
    assert len(np.unique(operations, axis=0)) == len(operations)


@pytest.mark.parametrize(
    ("lattice", "count"),
    [
        (lattices.chain(6, "open"), 2),
        (lattices.chain(7, "periodic"), 14),
        (lattices.square(3, "open"), 8),
        (lattices.square(5, "periodic"), 8 * 25),
        (lattices.toric_code_edges(3), 8 * 9),
    ],
)
def test_there_are_as_many_symmetries_as_the_group_has(lattice, count):
    assert len(lattices.symmetries(lattice)) == count


def test_symmetries_of_the_torus_permute_plaquettes():
    plaquettes = {frozenset(four) for four in toric_code.plaquettes(3).tolist()}
    for operation in lattices.symmetries(lattices.toric_code_edges(3)):
        assert {frozenset(operation[list(four)].tolist()) for four in plaquettes} == plaquettes


def test_a_boundary_of_no_kind_is_refused():
    with pytest.raises(ValueError, match="boundary is 'closed'; allowed: 'open', 'periodic'"):
        lattices.chain(4, "closed")


def test_runs_of_the_tables_have_the_lattice_of_their_spins():
    assert lattices.lattice_of("tfim", 16, 4, "open") is lattices.square(4, "open")
    assert lattices.lattice_of("toric_code", 18, 3, "periodic") is lattices.toric_code_edges(3)
    assert lattices.lattice_of("pauli", 12, 12, "periodic") is lattices.chain(12, "periodic")
    assert lattices.lattice_of("pauli", 12, 3, "open") is None
