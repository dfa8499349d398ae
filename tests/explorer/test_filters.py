"""Filters, their classes and chance: against lattices counted by hand and masks enumerated one by one."""

import itertools
import math
import re

import numpy as np
import polars as pl
import pytest

from explorer import analysis, charts
from nqs import lattices, masks, toric_code
from nqs.tasks import LiveWeights
from orchestrator.store import read_study
from tests.explorer.conftest import APP

DATA = APP.parents[1] / "data"


def network(hamiltonian: str, side: int, boundary: str = "open") -> dict:
    """What of a row of `states` says where spins are."""
    sites = 2 * side**2 if hamiltonian == "toric_code" else side**2
    return {"hamiltonian": hamiltonian, "sites": sites, "side": side, "boundary": boundary}


def layer_of(weights: np.ndarray, **where) -> analysis.HiddenLayer:
    """A hidden layer with these weights (sites, units), as it comes out of the tables."""
    indices = np.flatnonzero(weights)
    return analysis.hidden_layer(
        {"hidden": LiveWeights(weights.shape, indices, weights.flat[indices])}, where
    )


def columns(sites: int, *units: dict[int, float]) -> np.ndarray:
    """Weights (sites, units) from each unit's weights by site."""
    weights = np.zeros((sites, len(units)))
    for unit, values in enumerate(units):
        weights[list(values), unit] = list(values.values())
    return weights


# --- lattices


@pytest.mark.parametrize(
    ("side", "by_distance"),
    [
        # 2 × 2: all 4 edges of the other direction and 2 of the own are in a common star or plaquette.
        (2, {1: 6, 2: 1}),
        # 3 × 3: 4 edges across, 2 in line and 2 in parallel; the farthest one is (3/2, 3/2) away.
        (3, {1: 8, 2: 8, 3: 1}),
    ],
)
def test_edges_of_the_toric_code_are_as_many_steps_apart_as_counted_by_hand(side, by_distance):
    steps = lattices.graph_distances(lattices.toric_code_edges(side))
    for row in steps:
        found = dict(zip(*np.unique(row, return_counts=True), strict=True))
        assert found == {0: 1, **by_distance}
    together = np.zeros_like(steps, bool)
    for place in [*toric_code.plaquettes(side), *toric_code.stars(side)]:
        together[np.ix_(place, place)] = True
    np.testing.assert_array_equal(steps <= 1, together)


def test_spins_of_a_square_are_as_many_steps_apart_as_a_walk_needs():
    corner = lattices.graph_distances(lattices.square(3, "open"))[0]
    np.testing.assert_array_equal(corner, [0, 1, 2, 1, 2, 3, 2, 3, 4])
    around = lattices.graph_distances(lattices.square(3, "periodic"))[0]
    np.testing.assert_array_equal(around, [0, 1, 1, 1, 2, 2, 1, 2, 2])


@pytest.mark.parametrize(("side", "edges", "copies"), [(2, 8, 4), (3, 18, 6)])
def test_each_plaquette_of_the_toric_code_is_drawn_as_a_square_and_each_star_as_a_cross(side, edges, copies):
    drawing = charts.drawing_of(lattices.toric_code_edges(side))
    assert drawing.on_edges and drawing.size == (side, side)
    assert (len(drawing.sites), drawing.sites["copy"].sum()) == (edges + copies, copies)
    drawn = {}
    for row in drawing.sites.iter_rows(named=True):
        ends = frozenset([(row["x"], row["y"]), (row["x2"], row["y2"])])
        drawn[ends] = row["site"]
    assert len(drawn) == edges + copies
    for index, plaquette in enumerate(toric_code.plaquettes(side)):
        x, y = divmod(index, side)
        corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)]
        around = [drawn[frozenset(pair)] for pair in zip(corners, corners[1:] + corners[:1], strict=True)]
        assert sorted(around) == sorted(plaquette)
    # Of a vertex inside all four edges meet there.
    x = y = side - 1
    across = [drawn[frozenset([(x, y), end])] for end in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1))]
    assert sorted(across) == sorted(toric_code.stars(side)[side * x + y])


def test_bonds_of_a_square_join_neighbours_and_leave_a_periodic_one_as_stubs():
    of_open, periodic = (charts.drawing_of(lattices.square(3, boundary)) for boundary in ("open", "periodic"))
    assert (len(of_open.sites), len(of_open.bonds), of_open.size) == (9, 12, (2, 2))
    # Six more bonds around the boundary, each as two stubs.
    assert len(periodic.bonds) == 12 + 2 * 6
    lengths = (periodic.bonds["x2"] - periodic.bonds["x"]).abs() + (
        periodic.bonds["y2"] - periodic.bonds["y"]
    ).abs()
    assert dict(lengths.round(6).value_counts().iter_rows()) == {1.0: 12, 0.35: 12}
    # A stub leaves the lattice.
    stubs = periodic.bonds.filter(lengths < 1)
    assert all(not 0 <= min(x, y) <= max(x, y) <= 2 for x, y in stubs.select("x2", "y2").iter_rows())


# --- classes


def test_filters_of_the_toric_code_get_the_class_that_they_were_built_as():
    side = 3
    plaquette, star = toric_code.plaquettes(side)[4], toric_code.stars(side)[7]
    weights = columns(
        18,
        dict(zip(plaquette, (1.0, 1.0, -1.0, 1.0), strict=True)),
        dict(zip(plaquette, (-0.5, -0.5, 0.5, -0.5), strict=True)),
        dict(zip(star, (1.0, -1.0, -1.0, -1.0), strict=True)),
        dict(zip(plaquette, (1.0, 1.0, -1.0, -1.0), strict=True)),
        dict(zip(star, (1.0, 1.0, 1.0, 1.0), strict=True)),
        dict(zip(toric_code.flip_loops(side)[2], (1.0, 1.0, -1.0), strict=True)),
        # The line of edges along y at x = 1 carries Π σz around the torus.
        {3: 1.0, 4: 1.0, 5: 1.0},
        dict(zip(plaquette[:3], (1.0, 1.0, -1.0), strict=True)),
        {0: 1.0, 17: 1.0, 5: -2.0},
        {},
        dict(zip(plaquette, (1.0, 1.0, -1.0, 0.2), strict=True)),
    )
    table = analysis.filters(layer_of(weights, **network("toric_code", side)))
    assert table["class"].to_list() == [
        *("odd plaquette", "odd plaquette", "odd star", "even plaquette", "even star"),
        *("loop", "loop", "part of one", "longer range", "part of one"),
    ]
    # The dead unit has no row, and the others keep their numbers.
    assert table["unit"].to_list() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert table["place"].to_list()[:5] == [4, 4, 9 + 7, 4, 9 + 7]
    assert table["sign"].to_list()[:5] == [-1, -1, -1, 1, 1]
    assert table["norm"].to_list()[:2] == pytest.approx([2.0, 1.0])
    assert table["range"].to_list()[:4] == [1, 1, 1, 1]


def test_filters_of_a_square_get_their_class_by_spins_and_range():
    weights = columns(
        16,
        {5: 1.0},
        {0: 1.0, 1: 1.0},
        {0: 1.0, 4: -1.0},
        {0: 1.0, 5: 1.0},
        {0: 1.0, 15: 1.0},
        {0: 1.0, 1: 1.0, 2: 1.0},
        {0: 1.0, 1: 1.0, 3: 1.0},
    )
    table = analysis.filters(layer_of(weights, **network("tfim", 4)))
    assert table["class"].to_list() == [
        *("single spin", "neighbour pair", "neighbour pair", "pair, distance 2", "pair, further"),
        *("cluster, range 2", "cluster, further"),
    ]
    assert table["range"].to_list() == [0, 1, 1, 2, 6, 2, 3]
    counts = analysis.class_counts(table)
    assert counts["units"].to_list() == [1, 2, 1, 1, 1, 1] and counts["share"].sum() == pytest.approx(1)
    # Around a periodic lattice opposite corners are two steps apart.
    around = analysis.filters(layer_of(weights, **network("tfim", 4, "periodic")))
    assert around["range"].to_list() == [0, 1, 1, 2, 2, 2, 2]


def test_without_a_lattice_filters_are_told_apart_by_their_spins_alone():
    where = {"hamiltonian": "pauli", "sites": 6, "side": 3, "boundary": "open"}
    layer = layer_of(columns(6, {0: 1.0}, {0: 1.0, 5: 1.0}, {1: 1.0, 2: 1.0, 3: 1.0}), **where)
    assert analysis.filters(layer)["class"].to_list() == ["single spin", "pair", "three or more"]
    assert analysis.range_distribution(layer).is_empty()


def test_filters_are_sorted_with_the_most_telling_first():
    weights = columns(16, {0: 1.0, 1: 1.0, 2: 1.0}, {5: 9.0}, {0: 2.0, 1: 2.0}, {0: -3.0, 1: 3.0})
    table = analysis.filters(layer_of(weights, **network("tfim", 4)))
    order = {by: analysis.sorted_filters(table, by)["unit"].to_list() for by in analysis.SORTS}
    assert order == {"class": [1, 3, 2, 0], "norm": [1, 3, 2, 0], "degree": [0, 3, 2, 1]}
    with pytest.raises(ValueError, match="not by 'size'"):
        analysis.sorted_filters(table, "size")


def test_a_network_without_hidden_units_on_spins_has_kernels():
    values = np.arange(1.0, 19.0)
    live = LiveWeights((3, 3, 1, 2), np.arange(0, 18, 3), values[::3])
    weights = {"kernel": live, "scale": LiveWeights((2,), np.arange(2), np.ones(2))}
    assert analysis.hidden_layer(weights, network("tfim", 4)) is None
    table = analysis.kernels(weights)
    assert len(table) == 18 and table["weight"].count() == 6
    # Row-major: row, column, input channel, filter.
    row = table.row(
        by_predicate=(pl.col("row") == 1) & (pl.col("column") == 0) & (pl.col("filter") == 0), named=True
    )
    assert row["weight"] == 7.0
    assert analysis.kernels({"scale": weights["scale"]}).is_empty()


# --- chance


def all_masks(sites: int, units: int, live: int):
    """Every mask with so many live weights."""
    for chosen in itertools.combinations(range(sites * units), live):
        mask = np.zeros(sites * units, bool)
        mask[list(chosen)] = True
        yield mask.reshape(sites, units)


@pytest.mark.parametrize("live", [1, 4, 11])
def test_degrees_by_chance_are_those_of_all_masks(live):
    found = [
        (np.bincount(mask.sum(0), minlength=5), np.bincount(mask.sum(1), minlength=4))
        for mask in all_masks(4, 3, live)
    ]
    layer = layer_of(next(all_masks(4, 3, live)).astype(float), **network("tfim", 2))
    table = analysis.degree_distribution(layer)
    for of, counts in zip(("units", "spins"), map(np.array, zip(*found, strict=True)), strict=True):
        own = table.filter(pl.col("of") == of)
        np.testing.assert_allclose(own["expected"], counts.mean(0)[: len(own)], atol=1e-12)
        np.testing.assert_allclose(own["spread"], counts.std(0)[: len(own)], atol=1e-7)
        assert own["count"].sum() == {"units": 3, "spins": 4}[of]
        # What is left out has next to no expectation.
        assert counts.mean(0)[len(own) :].sum() < 0.05


@pytest.mark.parametrize("live", [2, 3, 7])
def test_ranges_by_chance_are_those_of_all_masks(live):
    """2 × 2 spins: sides are one step, diagonals two."""
    near = {frozenset(pair) for pair in ((0, 1), (0, 2), (1, 3), (2, 3))}
    found = []
    for mask in all_masks(4, 2, live):
        pairs = [frozenset(p) for unit in mask.T for p in itertools.combinations(np.flatnonzero(unit), 2)]
        found.append((sum(pair in near for pair in pairs), sum(pair not in near for pair in pairs)))
    last = analysis.range_distribution(layer_of(mask.astype(float), **network("tfim", 2)))
    assert last["distance"].to_list() == [1, 2]
    assert tuple(last["pairs"]) == found[-1]
    np.testing.assert_allclose(last["expected"], np.mean(found, 0), atol=1e-12)
    np.testing.assert_allclose(last["spread"], np.std(found, 0), atol=1e-7)


def test_the_overlap_by_chance_is_that_of_all_pairs_of_masks():
    first, second = list(all_masks(3, 2, 2)), list(all_masks(3, 2, 3))
    shared = np.array([[(a & b).sum() for b in second] for a in first])
    jaccard = shared / (5 - shared)
    table = analysis.compare_directly(first[0], second[0])
    np.testing.assert_allclose(table["expected"], [shared.mean() / 2, jaccard.mean()], atol=1e-12)
    own = (first[0] & second[0]).sum()
    np.testing.assert_allclose(table["value"], [own / 2, own / (5 - own)])
    np.testing.assert_allclose(table["p_value"], (shared >= own).mean(), atol=1e-12)
    inside = (shared / 2 >= table["low"][0]) & (shared / 2 <= table["high"][0])
    assert inside.mean() >= 0.95
    assert set(table["method"]) == {analysis.DIRECT}
    with pytest.raises(ValueError, match="must be equal"):
        analysis.compare_directly(first[0], first[0].T)


def test_a_permutation_of_units_changes_no_invariant_and_breaks_the_direct_comparison():
    generator = np.random.default_rng(3)
    mask = generator.random((9, 40)) < generator.random((9, 1)) * 0.5
    moved = mask[:, generator.permutation(40)]
    table = analysis.compare_invariants(generator, mask, moved, draws=30)
    np.testing.assert_allclose(table["value"], 1, atol=1e-6)
    assert (table["value"] > table["high"]).all() and (table["p_value"] <= 1 / 31).all()
    assert analysis.compare_directly(mask, moved)["value"][0] < 0.7


def test_pairs_of_spins_are_compared_by_how_many_units_connect_them():
    generator = np.random.default_rng(5)
    pair = [generator.random((6, 12)) < 0.4 for _ in "ab"]
    connected = [
        [sum(unit[i] and unit[j] for unit in mask.T) for i, j in itertools.combinations(range(6), 2)]
        for mask in pair
    ]
    table = analysis.compare_invariants(generator, *pair, draws=10)
    expected = [np.corrcoef(connected)[0, 1], np.corrcoef([mask.sum(1) for mask in pair])[0, 1]]
    np.testing.assert_allclose(table["value"][1:], expected, rtol=1e-9)


def test_masks_that_chance_made_are_as_alike_as_chance_has_it():
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(60):
        pair = [
            masks.random_spins(generator, np.arange(8)[:, None] < np.array([[1, 2, 2, 3] * 5])) for _ in "ab"
        ]
        table = analysis.compare_invariants(generator, *pair, draws=40)
        inside.append(((table["low"] <= table["value"]) & (table["value"] <= table["high"])).to_list())
    # 95 % of 60 are 57 ± 1.7; the normal interval of 40 draws and of a skewed overlap takes a few more.
    assert (np.sum(inside, 0) >= 50).all() and np.sum(inside) < 178


def test_a_correlation_of_equal_numbers_is_no_number():
    mask = np.ones((4, 3), bool)
    mask[:, 2] = False
    table = analysis.compare_invariants(np.random.default_rng(0), mask, mask, draws=5)
    assert table["value"].to_list()[1:] == [None, None]


# --- the toric code's exact solution


@pytest.mark.parametrize("filters", [4, 8])
def test_the_strength_of_a_built_network_gives_its_closed_form(filters):
    side, a = 3, 0.7
    weights = toric_code.odd_parity_weights(side, a, filters)
    layer = layer_of(weights, **network("toric_code", side))
    row = {
        "run_id": "d0",
        "level": 0,
        "side": side,
        "parameters_per_spin": 2.0 * filters,
        "relative_error": 0.1,
    }
    table = analysis.parity_table([(row, layer)])
    odd = table.filter(pl.col("class") == "odd plaquette").row(0, named=True)
    assert odd["units"] == filters * side**2 == table["units"].sum()
    assert odd["solved"] == 1
    assert odd["strength"] == pytest.approx(a * filters / 8, rel=1e-12)
    exact = analysis.closed_form(side, np.array([odd["strength"]]))
    built = toric_code.odd_parity_energy(side, a, filters)
    assert exact["relative_error"][0] == pytest.approx(built.relative_error, rel=1e-9)
    assert exact["variance"][0] == pytest.approx(built.variance, rel=1e-9)


def test_measured_networks_of_odd_parity_filters_lie_on_the_closed_form():
    table = analysis.built_networks(read_study(DATA / "toric_exact-laptop").states)
    assert table.group_by("side").len().sort("side").rows() == [(2, 16), (3, 16), (8, 16)]
    # Eight filters a plaquette: the strength is their magnitude.
    assert set(table["filters"]) == {8} and table["strength"].to_list() == table["magnitude"].to_list()
    summed = table.filter(pl.col("side") < 8)
    np.testing.assert_allclose(summed["relative_error"], summed["closed_form"], rtol=1e-4, atol=1e-13)
    sampled = table.filter(pl.col("side") == 8)
    # Sixteen deviations in standard errors, or bounds where no broken plaquette was seen.
    deviation = (sampled["relative_error"] - sampled["closed_form"]).abs() / sampled["relative_error_error"]
    assert deviation.max() < 4


def test_a_pruned_network_of_the_toric_code_is_the_exact_solution_where_its_error_is_small_and_not_beyond():
    study = read_study(DATA / "toric_code-laptop")
    trajectory = study.states.filter(kind="trajectory", width_per_spin=4.0, replicate=0)
    rows = trajectory.filter(pl.col("level").is_in([12, 22])).sort("level").iter_rows(named=True)
    layers = [(row, analysis.hidden_layer(study.weights(row["run_id"], row["level"]), row)) for row in rows]
    good, broken = analysis.parity_table(layers).unique("level").sort("level").iter_rows(named=True)
    assert good["solved"] == 1 and broken["solved"] < 0.5
    assert good["strength"] > 2 * broken["strength"]


# --- drawings


def labels_of(svg: str, text: str) -> list[tuple[float, float]]:
    """Where a drawing has a text."""
    return [
        (float(x), float(y)) for x, y in re.findall(rf'translate\(([\d.]+),([\d.]+)\)"[^>]*>{text}<', svg)
    ]


@pytest.mark.parametrize("width", [320, 900])
def test_panels_are_nearly_as_large_as_the_width_allows(width):
    layer = layer_of(toric_code.odd_parity_weights(3, 1.0, 4), **network("toric_code", 3))
    table = analysis.filters(layer).head(24)
    weights = analysis.filter_weights(layer, table["unit"].to_list())
    chart = charts.filters_on_lattice(table, weights, layer.lattice, 1.0)
    places = labels_of(charts.svg(chart.properties(width=width)), "odd plaquette")
    assert len(places) == len(set(places)) == 24
    across = sorted({x for x, _ in places})
    size = 2 * across[0]
    np.testing.assert_allclose(across, size * (np.arange(len(across)) + 0.5), rtol=1e-6)
    assert size * len(across) <= width and size * math.ceil(24 / len(across)) <= chart.height
    # One of the two numbers next to the ideal one; now and then a third is better by a few parts in a hundred.
    best = max(min(width / n, chart.height / math.ceil(24 / n)) for n in range(1, 25))
    assert 0.95 * best <= size <= best


def test_nothing_to_draw_is_refused():
    layer = layer_of(columns(16, {}), **network("tfim", 4))
    table = analysis.filters(layer)
    assert table.is_empty() and analysis.class_counts(table)["share"].sum() == 0
    with pytest.raises(ValueError, match="no live hidden units"):
        charts.filters_on_lattice(table, analysis.filter_weights(layer, []), layer.lattice, 1.0)
    with pytest.raises(ValueError, match="no kernels"):
        charts.kernel_tiles(analysis.kernels({}), 1.0)
    with pytest.raises(ValueError, match="no filters"):
        charts.filter_classes(analysis.parity_table([]))
