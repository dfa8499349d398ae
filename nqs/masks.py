"""Which spins the hidden units of a pruned network see: degrees, distances on the lattice, overlaps of masks.

A mask is a (sites, units) boolean array, True where the layer `hidden` has a live weight. Everything is
compared with what chance would give, and each docstring says with which: exact expectations where there are
any, else draws from a Generator that the caller passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, linear_sum_assignment
from scipy.special import gammaln

from nqs.lattices import Lattice, largest_distances
from nqs.tasks import LiveWeights

# A round trades between half as many pairs as there are units; five trades a unit, ten rounds, are the usual choice.
_ROUNDS = 30


def mask_of(live: LiveWeights) -> np.ndarray:
    """The mask (sites, units) of a layer: where it has weights that are not 0.

    The built solution of the toric code stores its zeros; they connect nothing.

    Raises:
        ValueError: the layer is not two-dimensional.
    """
    if len(live.shape) != 2:
        raise ValueError(
            f"a layer of shape {tuple(live.shape)} has no mask of spins and units; (sites, units)"
        )
    mask = np.zeros(math.prod(live.shape), bool)
    mask[live.indices] = live.values != 0
    return mask.reshape(live.shape)


# --- degrees


class Degrees(NamedTuple):
    """Degrees of a mask's columns, and what a random mask with as many live weights has.

    The random mask is that of `nqs.pruning.random_mask`: so many positions drawn without replacement. The degree
    of a column is then hypergeometric, which is the binomial one of N trials at the mask's density p but for the
    fixed total; its variance is (1 − 1/M) / (1 − 1/(N M)) of the binomial N p (1 − p).

    Attributes:
        degrees: (columns,) live weights of each.
        counts: (N + 1,) columns of degree 0 … N.
        expected_counts: (N + 1,) the same of a random mask.
        mean: over all columns, dead ones included; fixed by the density.
        variance: mean square deviation from `mean`, over all columns.
        expected_variance: its expectation for a random mask, exactly.
        variance_spread: its standard deviation for a random mask, about √(2 / (M − 1)) of the expectation.
        live_variance: variance over the live columns alone; `variance` is large where many columns are dead.
        expected_live_variance: its expectation for random masks with as many live weights in as many columns,
            none of which is dead; to relative order 1 / live columns.
    """

    degrees: np.ndarray
    counts: np.ndarray
    expected_counts: np.ndarray
    mean: float
    variance: float
    expected_variance: float
    variance_spread: float
    live_variance: float
    expected_live_variance: float

    @property
    def dead(self) -> int:
        return int(self.counts[0])

    @property
    def expected_dead(self) -> float:
        return float(self.expected_counts[0])


def column_degrees(mask: np.ndarray) -> Degrees:
    """Degrees of the hidden units of a mask (sites, units); of its transpose, those of the spins."""
    sites, units = mask.shape
    degrees = mask.sum(0)
    live = int(degrees.sum())
    expected_counts = units * _hypergeometric(sites, sites * units, live)
    mean = live / units
    # With one column nothing can vary.
    expected_variance = (
        float(expected_counts @ (np.arange(sites + 1) - mean) ** 2 / units) if units > 1 else 0.0
    )
    return Degrees(
        degrees,
        np.bincount(degrees, minlength=sites + 1),
        expected_counts,
        mean,
        float(degrees.var()),
        expected_variance,
        expected_variance * math.sqrt(2 / (units - 1)) if units > 1 else 0.0,
        float(degrees[degrees > 0].var()) if live else 0.0,
        _expected_live_variance(sites, int((degrees > 0).sum()), live),
    )


def _hypergeometric(column: int, size: int, live: int) -> np.ndarray:
    """Probability of 0 … column live weights among a column's, of `live` drawn from `size`: (column + 1,)."""
    degree = np.arange(column + 1)
    possible = (degree <= live) & (column - degree <= size - live)
    k = degree[possible]
    log = _log_binomial(column, k) + _log_binomial(size - column, live - k) - _log_binomial(size, live)
    probability = np.zeros(column + 1)
    probability[possible] = np.exp(log)
    return probability


def _expected_live_variance(sites: int, columns: int, live: int) -> float:
    """Variance of the degrees of `columns` random columns that are not empty and have `live` weights in all.

    Columns that are independent but for their total have P(d) ∝ binomial(N, d) z^d, d ≥ 1, with the z that
    gives the mean; the fixed total takes away one part in `columns`.
    """
    if live in (columns, sites * columns):
        return 0.0  # all of degree 1, or all full: nothing is left to chance
    degree = np.arange(1, sites + 1)
    ways, mean = _log_binomial(sites, degree), live / columns

    def probability(log_z: float) -> np.ndarray:
        log = ways + degree * log_z
        weights = np.exp(log - log.max())
        return weights / weights.sum()

    # The mean is one weight above its least or below its largest value at |ln z| < 20 on any network there is.
    bound = 20 + math.log(live * sites)
    log_z = brentq(lambda log_z: probability(log_z) @ degree - mean, -bound, bound)
    return float(probability(log_z) @ (degree - mean) ** 2 * (1 - 1 / columns))


def _log_binomial(n, k):
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


# --- distances within a unit


class Distances(NamedTuple):
    """Distances between the spins of a unit, averaged over the units that have two or more; NaN without any.

    Each unit counts once, whatever its degree. Random placement is: each unit keeps its degree and has its spins
    anywhere, independently. A unit of all spins has the mean distance of the lattice, so that nothing can be
    local where little is pruned: compare with the spread, and at low densities.

    Attributes:
        units: how many have two spins or more.
        pair: a unit's mean distance over its pairs of spins.
        expected_pair: of random placement: the mean over all pairs of sites, whatever the degrees.
        pair_spread: standard deviation of `pair` for random placement, exactly.
        weighted_pair: mean distance of the spins of two live weights of the mask, at different spins, whether
            of one unit or not. It differs from `expected_pair` where some spins have more weights; what `pair`
            is below it, is not due to that.
        range: a unit's largest distance.
        expected_range: of random placement; NaN where a degree has too many sets to enumerate.
    """

    units: int
    pair: float
    expected_pair: float
    pair_spread: float
    weighted_pair: float
    range: float
    expected_range: float


def unit_distances(mask: np.ndarray, lattice: Lattice) -> Distances:
    """How local the units of a mask (sites, units) are on a lattice.

    Raises:
        ValueError: the mask has another number of sites.
    """
    distances = lattice.distances
    if len(mask) != len(distances):
        raise ValueError(f"the mask has {len(mask)} sites; the lattice has {len(distances)}")
    chosen = mask[:, mask.sum(0) >= 2]
    if not chosen.size:
        return Distances(0, *[math.nan] * 6)
    degrees = chosen.sum(0)
    sums = (chosen * (distances @ chosen)).sum(0) / 2
    pairs = degrees * (degrees - 1) / 2
    variances = _pair_sum_variances(distances)[degrees] / pairs**2
    sites, units = chosen.shape
    return Distances(
        units,
        float((sums / pairs).mean()),
        float(distances.sum() / (sites * (sites - 1))),
        float(np.sqrt(variances.sum()) / units),
        _weighted_mean_distance(distances, mask.sum(1)),
        float(_unit_ranges(chosen, distances).mean()),
        float(lattice.expected_ranges[degrees].mean()),
    )


def _pair_sum_variances(distances: np.ndarray) -> np.ndarray:
    """Variance of the sum S of all pair distances of a random set of k sites, for k = 0 … N: (N + 1,).

    S² is a sum over two pairs, which are the same, share a site or are disjoint: 2, 3 or 4 sites that all
    have to be drawn, with probability k (k − 1) … / N (N − 1) ….
    """
    sites = len(distances)
    same = (distances**2).sum() / 2
    sharing = (distances.sum(1) ** 2).sum() - 2 * same
    total = distances.sum() / 2
    # Falling factorials k (k − 1) … over N (N − 1) …, where there are that many sites.
    factors = [(np.arange(sites + 1) - i) / max(sites - i, 1) for i in range(4)]
    two, three, four = np.cumprod(factors, axis=0)[1:]
    mean = two * total
    variance = two * same + three * sharing + four * (total**2 - same - sharing) - mean**2
    # Where nothing varies rounding leaves either sign.
    return np.maximum(variance, 0)


def _weighted_mean_distance(distances: np.ndarray, weights: np.ndarray) -> float:
    pairs = np.outer(weights, weights)
    np.fill_diagonal(pairs, 0)
    return float((pairs * distances).sum() / pairs.sum())


def _unit_ranges(mask: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Largest distance within each unit, units in the order of their degrees."""
    degrees, columns = mask.sum(0), mask.T
    found = []
    for degree in np.unique(degrees):
        spins = np.nonzero(columns[degrees == degree])[1].reshape(-1, degree)
        found.append(largest_distances(distances, spins))
    return np.concatenate(found)


# --- overlaps


class Overlap(NamedTuple):
    """What two masks have in common.

    Attributes:
        shared: positions live in both.
        fraction: shared over the live weights of the mask that has fewer; 1 where one is within the other.
        jaccard: shared over the positions live in either.
        units: (units,) the unit of the second mask that each unit of the first is compared with.
        operation: which of the symmetries was taken of the second; 0 without any.
    """

    shared: int
    fraction: float
    jaccard: float
    units: np.ndarray
    operation: int


def overlap(first: np.ndarray, second: np.ndarray) -> Overlap:
    """The overlap of two masks (sites, units), unit by unit as they are numbered.

    Numbers of units mean something where both networks started from the same initial weights: levels of a
    trajectory, methods with the same replicate. Chance gives n₁ n₂ / (N M) shared positions.

    Raises:
        ValueError: the masks have different shapes.
    """
    _check_shapes(first, second)
    return _overlap(first, second, int((first & second).sum()), np.arange(first.shape[1]), 0)


def best_overlap(first: np.ndarray, second: np.ndarray, operations: np.ndarray | None = None) -> Overlap:
    """The largest overlap of two masks (sites, units) over all ways to match their units.

    Hidden units of different initial weights have no names, and a permutation of them changes no state. A best
    match of even random masks is far above n₁ n₂ / (N M): the number means something beside `against_chance` alone.

    Args:
        operations: (operations, sites) permutations of the sites, such as `symmetries` of the lattice or some
            of them; the best one is taken for the second mask as a whole.

    Raises:
        ValueError: the masks have different shapes.
    """
    _check_shapes(first, second)
    images = [second] if operations is None else [second[operation] for operation in operations]
    matches = [_best_match(first, image) for image in images]
    operation = int(np.argmax([shared for shared, _ in matches]))
    return _overlap(first, second, *matches[operation], operation)


def _best_match(first: np.ndarray, second: np.ndarray) -> tuple[int, np.ndarray]:
    """Shared positions and the matched units of the second mask."""
    # Counts below 2²⁴ are exact in float32, whose product is a fast one.
    common = first.T.astype(np.float32) @ second.astype(np.float32)
    rows, units = linear_sum_assignment(common, maximize=True)
    return int(common[rows, units].sum(dtype=float)), units


def _overlap(
    first: np.ndarray, second: np.ndarray, shared: int, units: np.ndarray, operation: int
) -> Overlap:
    sizes = int(first.sum()), int(second.sum())
    fewer, either = min(sizes), sum(sizes) - shared
    # Of an empty mask nothing can be shared.
    fraction = shared / fewer if fewer else math.nan
    return Overlap(shared, fraction, shared / either if either else math.nan, units, operation)


def _check_shapes(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"masks of shapes {first.shape} and {second.shape} have no overlap; they must be equal"
        )


# --- masks by chance

Randomise = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def random_spins(generator: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A mask (sites, units) whose units have the degrees they have, and their spins anywhere."""
    return _smallest(generator.random(mask.shape), mask.sum(0))


def _smallest(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where the smallest `counts` (columns,) of each column's keys are, which are different."""
    ordered = np.concatenate([np.full((1, keys.shape[1]), -np.inf), np.sort(keys, axis=0)])
    return keys <= np.take_along_axis(ordered, counts[None], axis=0)


def random_partners(generator: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A mask (sites, units) with the degrees of all units and of all spins, else random.

    Units are paired at random and deal out anew the spins that only one of the two has (curveball trades:
    Strona et al. 2014; in rounds of disjoint pairs: Carstens et al. 2018). All such masks become equally likely.
    """
    mask = mask.copy()
    half = mask.shape[1] // 2
    for _ in range(_ROUNDS):
        order = generator.permutation(mask.shape[1])
        left, right = order[:half], order[half : 2 * half]
        pool = mask[:, left] ^ mask[:, right]
        own = (mask[:, left] & pool).sum(0)
        keys = np.where(pool, generator.random(pool.shape), np.inf)
        dealt = _smallest(keys, own)
        mask[:, left] = (mask[:, left] & ~pool) | dealt
        mask[:, right] = (mask[:, right] & ~pool) | (pool & ~dealt)
    return mask


def random_images(operations: np.ndarray) -> Randomise:
    """Makes masks (sites, units) in which each unit is its image under an operation of its own, at random.

    Units keep their degrees and their shapes, so what is above this chance is where they lie, and not that they
    are local.

    Args:
        operations: (operations, sites) permutations of the sites: `symmetries` of the lattice.
    """

    def randomise(generator: np.random.Generator, mask: np.ndarray) -> np.ndarray:
        units = np.arange(mask.shape[1])
        return mask[operations[generator.integers(len(operations), size=len(units))].T, units]

    return randomise


class Chance(NamedTuple):
    """An overlap beside what chance gives.

    Attributes:
        fraction: `fraction` of the best overlap.
        mean: the same with the second mask random, averaged over the draws.
        spread: its standard deviation over the draws: of one overlap, not of the mean.
        p_value: (1 + draws at least as large) / (1 + draws), never 0.
    """

    fraction: float
    mean: float
    spread: float
    p_value: float

    @property
    def excess(self) -> float:
        """(fraction − mean) / spread; overlaps are counts and nearly normal, but for the fewest weights."""
        return (self.fraction - self.mean) / self.spread if self.spread else math.nan


def against_chance(
    generator: np.random.Generator,
    first: np.ndarray,
    second: np.ndarray,
    randomise: Randomise = random_spins,
    draws: int = 100,
    operations: np.ndarray | None = None,
) -> Chance:
    """`best_overlap` of two masks (sites, units), beside that of the first with randomised second ones.

    The random masks are matched as the real one is, over all units and operations, so the freedom to match is on
    both sides. The answer is to the question that `randomise` asks: `random_spins`, whether masks are more
    alike than by their units' degrees; `random_partners`, than by the degrees of units and spins;
    `random_images`, than by units of these shapes. It is about these two masks: pairs that
    share a network are not independent, so their values must not be averaged as if they were.

    Raises:
        ValueError: the masks have different shapes, or there are fewer than two draws.
    """
    if draws < 2:
        raise ValueError(f"draws is {draws}; a spread needs at least 2")
    fraction = best_overlap(first, second, operations).fraction
    drawn = np.array(
        [best_overlap(first, randomise(generator, second), operations).fraction for _ in range(draws)]
    )
    # Equal counts are equal fractions, since all draws have the live weights of the second.
    p_value = (1 + int((drawn >= fraction).sum())) / (1 + draws)
    return Chance(fraction, float(drawn.mean()), float(drawn.std(ddof=1)), p_value)
