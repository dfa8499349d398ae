"""The hidden units of a trained network as filters: what each sees, how they are distributed, and masks compared.

A filter is the column of weights of one hidden unit on the spins. From a notebook:

    study = read_study("data/toric_code-laptop")
    row = study.states.filter(kind="trajectory").row(-1, named=True)
    layer = hidden_layer(study.weights(row["run_id"], row["level"]), row)
    filters(layer).group_by("class").len()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy import stats

from nqs import lattices, masks, toric_code

if TYPE_CHECKING:
    from nqs.tasks import NetworkWeights

# Of the toric code; a star's or plaquette's four weights by the rule of `toric_code.classify_filters`.
TORIC_CLASSES = (
    "odd plaquette",
    "odd star",
    "even plaquette",
    "even star",
    "loop",
    "part of one",
    "longer range",
)
# Of chains and square lattices, by number of spins and the largest graph distance between two of them.
LATTICE_CLASSES = (
    "single spin",
    "neighbour pair",
    "pair, distance 2",
    "pair, further",
    "cluster, range 2",
    "cluster, further",
)
# Where it is not known where the spins are.
PLAIN_CLASSES = ("single spin", "pair", "three or more")
SORTS = ("class", "norm", "degree")


@dataclass(frozen=True)
class HiddenLayer:
    """The weights between spins and hidden units, and where the spins are.

    Attributes:
        weights: (sites, units), pruned entries 0.
        mask: (sites, units) boolean, where a weight is live.
        lattice: None where the Hamiltonian does not tell it.
        is_toric_code: whether the spins are the edges of the toric code.
        side: linear size L.
    """

    weights: np.ndarray
    mask: np.ndarray
    lattice: lattices.Lattice | None
    is_toric_code: bool
    side: int


def hidden_layer(weights: NetworkWeights, network: Mapping) -> HiddenLayer | None:
    """The layer `hidden` of a network; None where it has none, as convolutions.

    Args:
        weights: from `Study.weights`.
        network: a row of a study's `states` or `runs`: hamiltonian, sites, side, boundary.
    """
    live = weights.get("hidden")
    if live is None or len(live.shape) != 2:
        return None
    dense = np.zeros(live.shape)
    dense.flat[live.indices] = live.values
    lattice = lattices.lattice_of(*(network[name] for name in ("hamiltonian", "sites", "side", "boundary")))
    is_toric_code = network["hamiltonian"] == "toric_code"
    return HiddenLayer(dense, masks.mask_of(live), lattice, is_toric_code, network["side"])


def classes_of(layer: HiddenLayer) -> tuple[str, ...]:
    """The classes that `filters` tells apart in this layer, in their order."""
    if layer.is_toric_code:
        return TORIC_CLASSES
    return PLAIN_CLASSES if layer.lattice is None else LATTICE_CLASSES


def filters(layer: HiddenLayer) -> pl.DataFrame:
    """One row a live hidden unit.

    Returns:
        unit (its column), degree (live weights), norm (√Σ w²), largest (|w|), range (largest graph distance between
        two of its spins, 0 for one spin; null without a lattice), sign (of the product of its weights), class (one
        of `classes_of`); of the toric code also place (plaquette p, or L² + the star, with the largest share of
        its Σ|w|), share, ratio (smallest over largest |w| of the four weights there), else null; by unit.
    """
    units = np.flatnonzero(layer.mask.any(0))
    weights, mask = layer.weights[:, units], layer.mask[:, units]
    degree, ranges = mask.sum(0), _ranges(layer, mask)
    place, share, ratio, kind = _classified(layer, units, degree, ranges)
    return pl.DataFrame(
        {
            "unit": units,
            "degree": degree,
            "norm": np.sqrt((weights**2).sum(0)),
            "largest": np.abs(weights).max(0, initial=0),
            "range": ranges,
            "sign": np.where(mask, np.sign(weights), 1).prod(0).astype(int),
            "class": kind,
            "place": place,
            "share": share,
            "ratio": ratio,
        },
        schema={
            "unit": pl.Int64,
            "degree": pl.Int64,
            "norm": pl.Float64,
            "largest": pl.Float64,
            "range": pl.Int64,
            "sign": pl.Int64,
            "class": pl.Enum(classes_of(layer)),
            "place": pl.Int64,
            "share": pl.Float64,
            "ratio": pl.Float64,
        },
    )


def sorted_filters(table: pl.DataFrame, by: str) -> pl.DataFrame:
    """The filters with the most telling first: by class in its order, else by largest norm or degree.

    Raises:
        ValueError: `by` is none of SORTS.
    """
    if by not in SORTS:
        raise ValueError(f"filters are sorted by {', '.join(SORTS)}, not by {by!r}")
    keys = [by] if by == "norm" else [by, "norm"]
    # An Enum sorts in the order of its classes; equal filters keep the order of their units.
    return table.sort(*keys, "unit", descending=[*(key != "class" for key in keys), False])


def class_counts(table: pl.DataFrame) -> pl.DataFrame:
    """How many filters are of each class, classes without any included: class, units, share.

    Args:
        table: from `filters`.
    """
    kinds = pl.DataFrame({"class": table.schema["class"].categories}, table.select("class").schema)
    counts = table.group_by("class").agg(units=pl.len().cast(pl.Int64))
    return kinds.join(counts, on="class", how="left", maintain_order="left").with_columns(
        pl.col("units").fill_null(0), share=pl.col("units").fill_null(0) / max(len(table), 1)
    )


def filter_weights(layer: HiddenLayer, units: list[int]) -> pl.DataFrame:
    """The weights of some units on every site: unit, site, weight (null where pruned)."""
    sites = len(layer.weights)
    return pl.DataFrame(
        {
            "unit": np.repeat(np.asarray(units, int), sites),
            "site": np.tile(np.arange(sites), len(units)),
            "weight": layer.weights[:, units].T.ravel(),
            "live": layer.mask[:, units].T.ravel(),
        },
        schema={"unit": pl.Int64, "site": pl.Int64, "weight": pl.Float64, "live": pl.Boolean},
    ).select("unit", "site", weight=pl.when("live").then("weight"))


def kernels(weights: NetworkWeights) -> pl.DataFrame:
    """The kernels of a network's convolutions, one row an entry, pruned ones included.

    Returns:
        layer, filter (output channel), channel (input channel), row, column, weight (null where pruned).
    """
    tables = [pl.DataFrame(schema=_KERNELS)]
    for name, live in weights.items():
        if len(live.shape) != 4:
            continue
        values, mask = np.zeros(live.shape), np.zeros(live.shape, bool)
        values.flat[live.indices] = live.values
        mask.flat[live.indices] = True
        row, column, channel, number = np.indices(live.shape).reshape(4, -1)
        entries = pl.DataFrame(
            {
                "layer": [name] * values.size,
                "filter": number,
                "channel": channel,
                "row": row,
                "column": column,
                "weight": values.ravel(),
                "live": mask.ravel(),
            }
        )
        tables.append(entries.select(*_KERNELS.names()[:-1], weight=pl.when("live").then("weight")))
    return pl.concat(tables).sort("layer", "filter", "channel", "row", "column")


_KERNELS = pl.Schema(
    {
        "layer": pl.String,
        "filter": pl.Int64,
        "channel": pl.Int64,
        "row": pl.Int64,
        "column": pl.Int64,
        "weight": pl.Float64,
    }
)


def _ranges(layer: HiddenLayer, mask: np.ndarray) -> list[int | None]:
    """Largest graph distance within each unit of a mask (sites, units)."""
    if layer.lattice is None:
        return [None] * mask.shape[1]
    steps = lattices.graph_distances(layer.lattice)
    return [int(steps[np.ix_(spins, spins)].max()) for spins in map(np.flatnonzero, mask.T)]


def _classified(layer: HiddenLayer, units: np.ndarray, degree: np.ndarray, ranges: list[int | None]):
    """place, share, ratio and class of each unit."""
    nothing = [None] * len(units)
    if not layer.is_toric_code:
        return nothing, nothing, nothing, [*map(_lattice_class, degree, ranges)]
    if not len(units):
        return [], [], [], []
    found = toric_code.classify_filters(layer.side, layer.weights)
    on_loop = _lies_on_a_loop(layer, units)
    kinds = []
    for k, place in enumerate(found.place):
        if found.clean[k]:
            parity = "odd" if found.odd[k] else "even"
            kinds.append(f"{parity} {'plaquette' if place < layer.side**2 else 'star'}")
        elif on_loop[k]:
            kinds.append("loop")
        else:
            kinds.append("part of one" if found.share[k] >= toric_code.CLEAN_SHARE else "longer range")
    return found.place, found.share, found.ratio, kinds


def _lattice_class(degree: int, farthest: int | None) -> str:
    if degree == 1:
        return "single spin"
    if farthest is None:
        return "pair" if degree == 2 else "three or more"
    if degree == 2:
        return {1: "neighbour pair", 2: "pair, distance 2"}.get(farthest, "pair, further")
    return "cluster, range 2" if farthest <= 2 else "cluster, further"


def _lies_on_a_loop(layer: HiddenLayer, units: np.ndarray) -> np.ndarray:
    """Whether all edges of a non-contractible straight loop carry a unit's weights, as clean as a plaquette's."""
    straight = np.concatenate([toric_code.flip_loops(layer.side), toric_code.sign_loops(layer.side)])
    # Translations and turns of a few loops are all of them.
    images = lattices.symmetries(layer.lattice)[:, straight].reshape(-1, layer.side)
    loops = np.unique(np.sort(images, axis=1), axis=0)
    magnitudes = np.abs(layer.weights[:, units])
    shares = magnitudes[loops].sum(1) / magnitudes.sum(0)  # (loops, units)
    own = magnitudes[loops[shares.argmax(0)].T, np.arange(len(units))]  # (L, units)
    ratio = own.min(0) / np.maximum(own.max(0), np.finfo(float).tiny)
    return (shares.max(0) >= toric_code.CLEAN_SHARE) & (ratio >= toric_code.CLEAN_RATIO)


# --- distributions against chance


def degree_distribution(layer: HiddenLayer) -> pl.DataFrame:
    """How many units and spins have how many live weights, and how many of a random mask do.

    The random mask has as many live weights in positions drawn without replacement, so a degree is
    hypergeometric; `spread` is the exact standard deviation of a count, of which two columns' joint
    probability is hypergeometric again.

    Returns:
        of ("units" or "spins"), degree, count, expected, spread; up to the largest degree that occurs, or of which
        0.05 are expected.
    """
    sides = {"units": layer.mask, "spins": layer.mask.T}
    return pl.concat([_degrees(mask).select(pl.lit(of).alias("of"), pl.all()) for of, mask in sides.items()])


def _degrees(mask: np.ndarray) -> pl.DataFrame:
    rows, columns = mask.shape
    degrees, live = masks.column_degrees(mask), int(mask.sum())
    d = np.arange(rows + 1)
    one = degrees.expected_counts / columns
    # Given the first column's d, the second's weights are drawn from what is left; a d that is impossible is NaN.
    left = live - d
    second = stats.hypergeom.pmf(d, rows * (columns - 1), left, rows) if columns > 1 else 0 * one
    both = one * np.where(one > 0, np.nan_to_num(second), 0)
    variance = columns * one * (1 - one) + columns * (columns - 1) * (both - one**2)
    seen = np.flatnonzero((degrees.counts > 0) | (degrees.expected_counts >= 0.05))
    table = pl.DataFrame(
        {
            "degree": d,
            "count": degrees.counts,
            "expected": degrees.expected_counts,
            "spread": np.sqrt(np.maximum(variance, 0)),
        }
    )
    return table.head(int(seen.max()) + 1)


def range_distribution(layer: HiddenLayer) -> pl.DataFrame:
    """How far apart the spins are that a hidden unit connects, by pairs, and those of a random mask.

    A pair is two live weights of one unit; its distance is `lattices.graph_distances` of the two spins. Of a mask with n
    live weights in N M positions, two given positions are both live with probability n (n − 1) / N M (N M − 1);
    `spread` is the exact standard deviation, from the pairs that share a weight and those that don't.

    Returns:
        distance, pairs, expected, spread; empty without a lattice.
    """
    names = ("distance", "pairs", "expected", "spread")
    if layer.lattice is None:
        return pl.DataFrame(
            schema=dict(zip(names, (pl.Int64, pl.Int64, pl.Float64, pl.Float64), strict=True))
        )
    steps = lattices.graph_distances(layer.lattice)
    units, live = layer.mask.shape[1], int(layer.mask.sum())
    # Probability that k given positions are live, k = 1 … 4.
    left = layer.mask.size - np.arange(4)
    all_live = np.cumprod((live - np.arange(4)) / np.maximum(left, 1))
    together = layer.mask.astype(int) @ layer.mask.T.astype(int)  # units that two spins share
    rows = []
    for distance in range(1, int(steps.max()) + 1):
        at = steps == distance
        neighbours = at.sum(1)
        count = units * int(at.sum()) // 2
        sharing = units * int((neighbours * (neighbours - 1)).sum())
        apart = count**2 - count - sharing
        expected = count * all_live[1]
        variance = expected + sharing * all_live[2] + apart * all_live[3] - expected**2
        pairs = int(together[at].sum()) // 2
        rows.append((distance, pairs, float(expected), float(np.sqrt(max(variance, 0)))))
    return pl.DataFrame(rows, names, orient="row")


# --- masks of two networks

DIRECT = "unit by unit; chance: hypergeometric, exact"
BY_DRAWS = "units have no names; chance: random masks with the units' degrees"


def compare_directly(first: np.ndarray, second: np.ndarray, confidence: float = 0.95) -> pl.DataFrame:
    """What two masks (sites, units) share, position by position, against chance.

    For networks that started from the same initial weights (the same dense run): their units have the same
    names. Chance is two masks drawn independently at their densities: the shared count is hypergeometric.

    Returns:
        statistic ("shared weights", over those of the smaller mask; "Jaccard index"), value, expected, low, high
        (where chance is with the confidence), p_value (of as much or more by chance), method.

    Raises:
        ValueError: the masks have different shapes.
    """
    found = masks.overlap(first, second)
    n1, n2 = int(first.sum()), int(second.sum())
    chance = stats.hypergeom(first.size, n1, n2)
    shared = np.arange(min(n1, n2) + 1)
    probability = chance.pmf(shared)
    ends = chance.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    p_value = float(chance.sf(found.shared - 1))
    fewer = max(min(n1, n2), 1)
    rows = []
    for statistic, value, of_count in (
        ("shared weights", found.fraction, lambda k: k / fewer),
        ("Jaccard index", found.jaccard, lambda k: k / np.maximum(n1 + n2 - k, 1)),
    ):
        low, high = of_count(ends)
        expected = float(probability @ of_count(shared))
        rows.append((statistic, value, expected, float(low), float(high), p_value, DIRECT))
    return pl.DataFrame(rows, _COMPARISON, orient="row").with_columns(pl.col("value").fill_nan(None))


def compare_invariants(
    generator: np.random.Generator,
    first: np.ndarray,
    second: np.ndarray,
    draws: int = 100,
    confidence: float = 0.95,
) -> pl.DataFrame:
    """What two masks (sites, units) share whatever their units are called, against chance.

    For networks of other initial weights: hidden units are equal but for their order, so only what a permutation
    leaves alone can be compared: the best match of the units (`masks.best_overlap`), how many units connect each
    pair of spins, and how many weights each spin has (both as a correlation over pairs and spins). Chance
    keeps the degrees of the second mask's units and has their spins anywhere (`masks.random_spins`).

    Args:
        draws: random masks; the interval of chance is normal, from their mean and spread.

    Returns:
        as `compare_directly`; a correlation of numbers that are all alike is null.

    Raises:
        ValueError: the masks have different shapes, or there are fewer than two draws.
    """
    matched = masks.against_chance(generator, first, second, masks.random_spins, draws)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    rows = [
        ("best match of units", *_row(matched.fraction, matched.mean, matched.spread, z), matched.p_value)
    ]
    random = [masks.random_spins(generator, second) for _ in range(draws)]
    for statistic, invariant in (("pairs of spins", _pairs), ("weights per spin", _spin_degrees)):
        own = invariant(first)
        value = _correlation(own, invariant(second))
        drawn = np.array([_correlation(own, invariant(mask)) for mask in random])
        p_value = (1 + int((drawn >= value).sum())) / (1 + draws)
        known = np.isfinite(value) and np.isfinite(drawn).all()
        row = _row(value, drawn.mean(), drawn.std(ddof=1), z) if known else (None,) * 4
        rows.append((statistic, *row, p_value if known else None))
    return pl.DataFrame([(*row, BY_DRAWS) for row in rows], _COMPARISON, orient="row")


_COMPARISON = pl.Schema(
    {
        "statistic": pl.String,
        **{name: pl.Float64 for name in ("value", "expected", "low", "high", "p_value")},
        "method": pl.String,
    }
)


def _row(value: float, mean: float, spread: float, z: float) -> tuple[float, ...]:
    return float(value), float(mean), float(mean - z * spread), float(mean + z * spread)


def _pairs(mask: np.ndarray) -> np.ndarray:
    """Units that see both spins, of every pair of spins."""
    together = mask.astype(np.float32) @ mask.T.astype(np.float32)
    return together[np.triu_indices(len(mask), 1)]


def _spin_degrees(mask: np.ndarray) -> np.ndarray:
    return mask.sum(1)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
