"""The toric code: its lattice, moves and observables, its exact solution as a network, and trained filters.

Spins sit on the edges of an L × L periodic square lattice, N = 2 L², as `nqs.lattices` has them. H = −Σ_v A_v − Σ_p B_p with A_v = Π σx over the
edges that meet in a vertex and B_p = Π σz over those around a plaquette; E0 = −2 L², four-fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nqs.hamiltonians import FlipForm, constant_form
from nqs.lattices import edge_grids
from nqs.moves import Moves, joined
from nqs.statistics import Estimate, estimate

# Of a trained filter: the share of Σ|w| that lies on its plaquette or star, and the smallest of its four
# weights over the largest, from which on it counts as clean.
CLEAN_SHARE, CLEAN_RATIO = 0.9, 0.3
# Chains with a broken plaquette that may hide, with 5 % chance, where none is seen.
_UNSEEN = 3


def stars(side: int) -> np.ndarray:
    """The four edges that meet in each vertex: (L², 4) int32."""
    h, v = edge_grids(side)
    return np.stack([h, np.roll(h, 1, axis=1), v, np.roll(v, 1, axis=0)], axis=-1).reshape(-1, 4)


def plaquettes(side: int) -> np.ndarray:
    """The four edges around each plaquette: (L², 4) int32, opposite ones in columns 0, 1 and 2, 3."""
    h, v = edge_grids(side)
    return np.stack([h, np.roll(h, -1, axis=0), v, np.roll(v, -1, axis=1)], axis=-1).reshape(-1, 4)


def flip_loops(side: int) -> np.ndarray:
    """Non-contractible loops whose flip breaks no plaquette: (2 L, L) int32, L in each direction."""
    h, v = edge_grids(side)
    return np.concatenate([h.T, v])


def sign_loops(side: int) -> np.ndarray:
    """Loops whose products W₁, W₂ of σz commute with all stars and name the winding sector: (2, L) int32."""
    h, v = edge_grids(side)
    return np.stack([h[0], v[:, 0]])


def toric_code_form(side: int) -> FlipForm:
    """H in flip form: plaquettes are its diagonal, stars its flips."""
    return constant_form(-np.ones(side**2), plaquettes(side), -np.ones(side**2), stars(side))


def moves(side: int) -> Moves:
    """N single flips, N flips of stars (each star twice), and the non-contractible loops.

    Stars conserve the winding sector and single flips cross between sectors by way of broken plaquettes alone:
    without the loops a converged network's chains stay in the sectors they are in.
    """
    star_sets = stars(side).tolist()
    return joined(
        2 * side**2, [[i] for i in range(2 * side**2)], star_sets, star_sets, flip_loops(side).tolist()
    )


# --- observables


def mean_plaquette(side: int, spins: np.ndarray) -> np.ndarray:
    """Σ_p B_p / L² of each configuration, (configurations,) from spins (N, configurations)."""
    return np.mean([np.prod(spins[edges], axis=0) for edges in plaquettes(side)], axis=0)


@dataclass(frozen=True)
class WilsonLoops:
    """Σ over all positions of Π σz around k × k squares of plaquettes, at k = 1 … L − 1.

    The product around a square is that of its B_p: each inner edge is in two of them.
    """

    side: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Positions of a square, for each k."""
        return (self.side**2,) * (self.side - 1)

    def __call__(self, spins) -> tuple:
        """The sums, each (configurations,), of spins (N, configurations) of numpy or jax."""
        side, around = self.side, np.arange(2 * self.side - 1) % self.side
        first, second, third, fourth = (spins[edges] for edges in plaquettes(side).T)
        signs = (first * second * third * fourth).reshape(side, side, -1)
        # Products over all plaquettes up to (x, y), once and almost once more around in each direction: a square
        # is the product at its four corners, since signs are their own inverses.
        upto = signs[around][:, around].cumprod(0).cumprod(1)
        near = slice(0, side)
        squares = (
            upto[near, near] * upto[near, far] * upto[far, near] * upto[far, far]
            for far in (slice(k, k + side) for k in range(1, side))
        )
        return tuple(square.sum((0, 1)) for square in squares)


def sector_weights(side: int, spins: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Probability of all plaquettes +1 in each winding sector, W₁ W₂ = ++, +−, −+, −−: (4,).

    Args:
        spins: (N, configurations) ±1.
        probability: (configurations,) their weights.
    """
    intact = mean_plaquette(side, spins) == 1
    first, second = (np.prod(spins[loop], axis=0) < 0 for loop in sign_loops(side))
    sector = 2 * first.astype(int) + second
    return np.bincount(sector[intact], probability[intact], minlength=4)


def ground_state_weight(side: int, psi: np.ndarray) -> float:
    """Σ |⟨g|ψ⟩|² over the four ground states g, of a normalised ψ (2^N,): the norm of its projection.

    The projector is Π_p (1 + B_p)/2 Π_v (1 + A_v)/2.
    """
    sites = 2 * side**2
    configurations = np.arange(1 << sites)
    projected = psi.copy()
    for edges in plaquettes(side):
        bits = sum((configurations >> int(edge)) & 1 for edge in edges)
        projected[bits % 2 == 1] = 0
    for edges in stars(side):
        mask = sum(1 << int(edge) for edge in edges)
        projected = (projected + projected[configurations ^ mask]) / 2
    return float(projected @ projected)


def _unseen_error(count: int, diagonal: np.ndarray, enclosed: int = 1) -> float:
    """The bound on a mean over loops where no sample has a broken plaquette; 0 where one has.

    3 chains of all may hide, with two broken plaquettes each: each turns the sign of as many of the `count`
    loops as a loop has enclosed plaquettes. A chain counts once, whatever its sweeps: broken pairs live long,
    and for how long can't be measured where none is seen.
    """
    if np.any(diagonal != -count):
        return 0.0
    return _UNSEEN / diagonal.shape[1] * 2 * min(1.0, 2 * enclosed / count)


def sampled_observables(
    side: int, diagonal: np.ndarray, energies: np.ndarray, spins: np.ndarray, loops: Sequence[Estimate]
) -> dict:
    """Star, plaquette, Wilson loops, sector weights and the energy's error from the records of a measurement.

    Where no sample has a broken plaquette, errors are the bounds of `_unseen_error` and not 0. The energy is
    −L² (star + plaquette), so its bound is 2 L² times theirs; where one is seen, the energies' own spread
    is the error, which knows that star and plaquette are correlated.

    Args:
        diagonal: (sweeps, chains) −Σ_p B_p.
        energies: (sweeps, chains) local energies.
        spins: (N, chains) the chains at the end.
        loops: of `WilsonLoops`, at k = 1 … L − 1.
    """
    count = side**2
    star, plaquette = estimate((diagonal - energies) / count), estimate(-diagonal / count)
    bound = _unseen_error(count, diagonal)
    return {
        "energy_error": max(estimate(energies).error, 2 * count * bound),
        "star": star.mean,
        "star_error": max(star.error, bound),
        "plaquette": plaquette.mean,
        "plaquette_error": max(plaquette.error, bound),
        "wilson_loops": [loop.mean for loop in loops],
        "wilson_loops_error": [
            max(loop.error, _unseen_error(count, diagonal, k**2)) for k, loop in enumerate(loops, start=1)
        ],
        "sector_weights": sector_weights(side, spins, np.full(spins.shape[1], 1 / spins.shape[1])),
    }


# --- the exact solution


def odd_parity_weights(side: int, magnitude: float, filters: int) -> np.ndarray:
    """W (N, filters · L²) of the exact solution: on each plaquette three weights ±a and one of the other sign.

    With θ_i = a (S − 2 s_i), S the sum of a plaquette's spins, Σ_i |θ_i| is 8 a where their product is +1 and
    4 a where it is −1, whichever spin is the odd one. Eight filters are ±θ_i, and relu(θ) + relu(−θ) = |θ|.
    Four filters ε_i θ_i give half of that, and the linear term Σ_i ε_i θ_i / 2. With ε = + on the first and −
    on the second of two opposite edges it is −a Σ_i ε_i s_i, and every edge is the first of one plaquette and
    the second of the next: the terms cancel, on lattices of any side. docs/toric_code.md has
    what fewer filters can do.

    Raises:
        ValueError: another number of filters.
    """
    if filters not in (4, 8):
        raise ValueError(f"{filters} filters a plaquette; 4 or 8 make the exact solution")
    weights = np.zeros((2 * side**2, filters * side**2))
    own = magnitude * (1 - 2 * np.eye(4))
    own = np.concatenate([own, -own]) if filters == 8 else own * np.array([1, -1, 1, -1])[:, None]
    for index, edges in enumerate(plaquettes(side)):
        weights[edges, filters * index : filters * (index + 1)] = own.T
    return weights


class ClosedForm(NamedTuple):
    """Attributes: energy, total; variance, of the total energy; relative_error, (E − E0) / |E0|."""

    energy: float
    variance: float
    relative_error: float


def odd_parity_energy(side: int, magnitude: float, filters: int) -> ClosedForm:
    """The exact solution's energy at weights of magnitude a: E = −n − n (1 − 2 P), n = L².

    log ψ falls by a constant for each broken plaquette, so that |ψ|² is x to the number K of them, x = e^(−8 a)
    with eight filters and e^(−4 a) with four; K is even. P = ⟨K⟩/n = x/(1 + x) · (1 − r^(n−1))/(1 + r^n) with
    r = (1 − x)/(1 + x). Stars break nothing, so A_v = 1 and the variance is 4 Var K.
    """
    n, exponent = side**2, magnitude * filters
    x = np.exp(-exponent)
    # ln r, which is small where x is: 1 − r^k keeps its digits.
    log_r = np.log1p(-x) - np.log1p(x)
    one = x / (1 + x) * -np.expm1((n - 1) * log_r) / (1 + np.exp(n * log_r))
    two = (x / (1 + x)) ** 2 * (1 + np.exp((n - 2) * log_r)) / (1 + np.exp(n * log_r))
    variance = 4 * (n * one + n * (n - 1) * two - (n * one) ** 2)
    return ClosedForm(float(-2 * n + 2 * n * one), float(variance), float(one))


# --- trained filters


class Filters(NamedTuple):
    """What each live hidden unit of a network is; arrays (units,).

    Attributes:
        unit: its column of W.
        place: the plaquette, or L² + the star, that has the largest share of its Σ|w|.
        share: that share.
        ratio: smallest over largest |w| of its four weights there; 0 where one is pruned.
        odd: whether their product is negative.
        odd_edge: for odd ones, the column of `plaquettes` (or `stars`) whose sign is unlike the others'.
        clean: an odd or even filter by CLEAN_SHARE and CLEAN_RATIO.
    """

    unit: np.ndarray
    place: np.ndarray
    share: np.ndarray
    ratio: np.ndarray
    odd: np.ndarray
    odd_edge: np.ndarray
    clean: np.ndarray


def classify_filters(side: int, weights: np.ndarray) -> Filters:
    """The filters of a network W (N, units); units without a live weight are left out."""
    units = np.flatnonzero(np.any(weights != 0, axis=0))
    columns = weights[:, units]
    places = np.concatenate([plaquettes(side), stars(side)])
    on_place = columns[places]  # (places, 4, units)
    shares = np.abs(on_place).sum(1) / np.abs(columns).sum(0)
    place = shares.argmax(0)
    own = on_place[place, :, np.arange(len(units))]  # (units, 4)
    magnitudes = np.abs(own)
    share, ratio = shares.max(0), magnitudes.min(1) / magnitudes.max(1)
    signs = np.sign(own)
    odd = signs.prod(1) < 0
    odd_edge = np.argmin(signs * np.sign(signs.sum(1))[:, None], axis=1)
    clean = (share >= CLEAN_SHARE) & (ratio >= CLEAN_RATIO)
    return Filters(units, place, share, ratio, odd, odd_edge, clean)


def solved_plaquettes(side: int, filters: Filters) -> float:
    """Share of plaquettes that have clean odd-parity filters with each of their edges as the odd one.

    Those are told from even ones whichever spin is odd: at 1 the network is the exact solution, up to the
    magnitudes of its weights.
    """
    chosen = filters.clean & filters.odd & (filters.place < side**2)
    found = np.zeros((side**2, 4), bool)
    found[filters.place[chosen], filters.odd_edge[chosen]] = True
    return float(found.all(1).mean())
