"""The moves of a sweep as data: which sets of spins it tries to flip, and whether they must conserve Σσz."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nqs.hamiltonians import FlipForm, conserves_magnetization, padded_sets, unpadded_sets

if TYPE_CHECKING:
    from jax import Array


class Moves(NamedTuple):
    """What a sweep tries, each row once, in random order.

    Attributes:
        sites: (moves, width) int32, the spins that each move flips, padded with the index `sites`.
        exchange: int32 scalar; 1: a move is made only where its spins sum to 0, so that Σσz stays (of two
            spins: only where they are opposed, which exchanges them); 0: a move may be made anywhere.
    """

    sites: Array
    exchange: Array


def single_flips(sites: int) -> Moves:
    """Each spin alone."""
    return Moves(np.arange(sites, dtype=np.int32)[:, None], np.int32(0))


def pair_exchanges(bonds: Array) -> Moves:
    """Exchanges of the two spins of each bond, (bonds, 2) integers.

    Σσz of a chain stays what it is at the start, up to the overall sign that a sweep draws: that draw keeps
    only Σσz = 0, so chains start there (`random_spins` with balanced=True).

    Raises:
        ValueError: a bond does not have two sites.
    """
    bonds = np.asarray(bonds, np.int32)
    if bonds.ndim != 2 or bonds.shape[1] != 2:
        raise ValueError(f"bonds have shape {bonds.shape}; (bonds, 2) is needed")
    return Moves(bonds, np.int32(1))


def joined(sites: int, *sets: Iterable[Sequence[int]]) -> Moves:
    """Flips of any number of spins as one padded list: each argument is a list of sets of sites.

    For the toric code: joined(sites, [[i] for i in range(sites)], stars, loops).

    Raises:
        ValueError: a set is empty, names a site twice, or one that is not there.
    """
    rows = [tuple(map(int, chosen)) for group in sets for chosen in group]
    for row in rows:
        if not row or len(set(row)) < len(row) or min(row) < 0 or max(row) >= sites:
            raise ValueError(
                f"a move flips the sites {list(row)}; allowed: some of 0 … {sites - 1}, each once"
            )
    return Moves(padded_sets(rows, sites), np.int32(0))


def moves_of(form: FlipForm, sites: int) -> Moves:
    """Exchanges of the form's pairs where it conserves Σσz, else single flips."""
    if len(form.flip_coefficients) and conserves_magnetization(form, sites):
        return pair_exchanges(unpadded_sets(form.flip_sites, sites))
    return single_flips(sites)


def unconnected_sites(bonds: Iterable[Sequence[int]], sites: int) -> tuple[int, int] | None:
    """Two sites that no series of exchanges along the bonds connects, site 0 and the first of such; or None."""
    parent = list(range(sites))

    def root(site: int) -> int:
        while parent[site] != site:
            parent[site] = site = parent[parent[site]]
        return site

    for left, right in bonds:
        parent[root(left)] = root(right)
    return next(((0, site) for site in range(sites) if root(site) != root(0)), None)


def allowed(spins: Array, flipped: Array, exchange: Array) -> Array:
    """Where a move may be made: (chains,) booleans from spins (sites, chains) and one padded set of sites."""
    total = spins.at[flipped].get(mode="fill", fill_value=0).sum(0)
    return (exchange == 0) | (total == 0)
