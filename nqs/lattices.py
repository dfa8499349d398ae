"""The lattices of chains, squares and the toric code: which site is where, distances and symmetries.

Index arithmetic without jax, so that training, tables and charts have one rule. On a square of side L site L x + y is
at (x, y). On the toric code's torus edge h(x, y) = L x + y leads from vertex (x, y) to (x, y + 1), edge
v(x, y) = L² + L x + y to (x + 1, y).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Sets of spins are enumerated while all their pairs are at most this many: 40 MB, a tenth of a second. That
# is every size on up to 18 sites, five spins of 25, three of 100.
_ENUMERATED_PAIRS = 5_000_000


def site_grid(side: int) -> np.ndarray:
    """The site at (x, y): (side, side) int32."""
    return np.arange(side**2, dtype=np.int32).reshape(side, side)


def places(side: int) -> np.ndarray:
    """(x, y) of each site of a square: (side², 2) int."""
    return np.stack(np.divmod(np.arange(side**2), side), axis=1)


def edge_grids(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The edges h(x, y) and v(x, y) of the toric code: (side, side) int32 each."""
    h = site_grid(side)
    return h, h + side**2


class Lattice(NamedTuple):
    """Where spins are, and what random ones among them have; arrays are read-only.

    Attributes:
        points: (sites, dimensions) int, twice the coordinates, since edges have their midpoints.
        period: twice the periodic length, or None on an open lattice.
        distances: (sites, sites) Euclidean, in lattice spacings, by the shortest way around.
        expected_ranges: (sites + 1,) mean largest distance within a random set of that many spins, by
            enumeration; NaN below two spins and where there are too many sets.
    """

    points: np.ndarray
    period: int | None
    distances: np.ndarray
    expected_ranges: np.ndarray


@lru_cache(maxsize=64)
def chain(sites: int, boundary: str) -> Lattice:
    """Site i at i; boundary "open" or "periodic"."""
    return _lattice(2 * np.arange(sites)[:, None], _period(sites, boundary))


@lru_cache(maxsize=64)
def square(side: int, boundary: str) -> Lattice:
    """Site L x + y at (x, y); boundary "open" or "periodic"."""
    return _lattice(2 * places(side), _period(side, boundary))


@lru_cache(maxsize=64)
def toric_code_edges(side: int) -> Lattice:
    """The edges of the toric code in the order of `edge_grids`, each at its midpoint on the torus."""
    start = 2 * places(side)
    return _lattice(np.concatenate([start + [0, 1], start + [1, 0]]), _period(side, "periodic"))


def lattice_of(hamiltonian: str, sites: int, side: int, boundary: str) -> Lattice | None:
    """The lattice of a run, from its fields in the tables; None where they do not tell it.

    Of Hamiltonians made of Pauli strings those with as many sites as their linear size are chains; where the
    spins of others are, only their author knows.
    """
    if hamiltonian == "tfim":
        return square(side, boundary)
    if hamiltonian == "toric_code":
        return toric_code_edges(side)
    return chain(sites, boundary) if sites == side else None


def _period(side: int, boundary: str) -> int | None:
    if boundary not in ("open", "periodic"):
        raise ValueError(f"boundary is {boundary!r}; allowed: 'open', 'periodic'")
    return 2 * side if boundary == "periodic" else None


def _lattice(points: np.ndarray, period: int | None) -> Lattice:
    distances = np.sqrt((_apart(points, period) ** 2).sum(-1)) / 2
    sites = len(points)
    ranges = np.array([_expected_range(distances, size) for size in range(sites + 1)])
    for array in (points, distances, ranges):
        # They are shared by all who ask for this lattice.
        array.setflags(write=False)
    return Lattice(points, period, distances, ranges)


def _apart(points: np.ndarray, period: int | None) -> np.ndarray:
    """How far apart points are in each direction, the shortest way around: (sites, sites, dimensions)."""
    apart = np.abs(points[:, None] - points)
    return apart if period is None else np.minimum(apart, period - apart)


def graph_distances(lattice: Lattice) -> np.ndarray:
    """Steps between sites along the bonds: (sites, sites) int.

    On a chain and a square lattice the bonds join nearest neighbours. Edges of the toric code are joined where they
    share a vertex or a plaquette, so that exactly the edges of one star or plaquette are one step apart.
    """
    # In twice the coordinates a bond is (2, 0), (0, 2) or, between edges, (1, 1): a length of 2 along the axes.
    return _apart(lattice.points, lattice.period).sum(-1) // 2


def _expected_range(distances: np.ndarray, size: int) -> float:
    sites = len(distances)
    if size < 2 or math.comb(sites, size) * size**2 > _ENUMERATED_PAIRS:
        return math.nan
    members = itertools.chain.from_iterable(itertools.combinations(range(sites), size))
    return float(largest_distances(distances, np.fromiter(members, int).reshape(-1, size)).mean())


def largest_distances(distances: np.ndarray, spins: np.ndarray) -> np.ndarray:
    """Largest distance within each set of spins: (sets,) from (sets, size), size at least 2."""
    # Spin by spin, for the cache: all pairs at once took 200 ms for 800 units of 100 spins, this takes 40.
    others = range(1, spins.shape[1])
    return np.max([distances[spins[:, i - 1, None], spins[:, i:]].max(1) for i in others], axis=0)


def symmetries(lattice: Lattice) -> np.ndarray:
    """Permutations of the sites that keep all distances: (operations, sites), `mask[operation]` is a mask's image.

    Reflections and, in two dimensions, rotations by quarter turns (the 8 of the square's point group); on a
    periodic lattice with all translations.
    """
    points, period = lattice.points, lattice.period
    span = points.max() + 1 if period is None else period
    index = np.full((span,) * points.shape[1], -1)
    index[tuple(points.T)] = np.arange(len(points))
    images = [index[tuple(image.T)] for image in _images(points, period)]
    return np.unique(images, axis=0)


def _images(points: np.ndarray, period: int | None) -> Iterator[np.ndarray]:
    dimensions = points.shape[1]
    for axes in itertools.permutations(range(dimensions)):
        for signs in itertools.product((1, -1), repeat=dimensions):
            turned = points[:, axes] * np.array(signs)
            if period is None:
                yield turned + points.max() * (np.array(signs) < 0)
            else:
                for shift in itertools.product(range(0, period, 2), repeat=dimensions):
                    yield (turned + np.array(shift)) % period
