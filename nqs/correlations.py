"""Spin–spin correlations along the axes of a chain or a square lattice."""

from __future__ import annotations

from dataclasses import dataclass

from nqs.config import HamiltonianConfig


@dataclass(frozen=True)
class Correlations:
    """Σ s_i s_j over all pairs of spins at each distance along an axis.

    Attributes:
        shape: of the lattice in spins, (L,) or (L, L); site L x + y is the spin (x, y), as in `nqs.lattices`.
        periodic: whether pairs also go around.
    """

    shape: tuple[int, ...]
    periodic: bool

    @property
    def counts(self) -> tuple[int, ...]:
        """Terms of the sum at r = 1, 2, …; around a lattice of even side L a pair at r = L/2 is in it twice."""
        side, axes = self.shape[0], len(self.shape)
        lines = axes * side ** (axes - 1)
        return tuple(lines * (side if self.periodic else side - r) for r in self._distances)

    @property
    def _distances(self) -> range:
        side = self.shape[0]
        return range(1, side // 2 + 1 if self.periodic else side)

    def __call__(self, spins) -> tuple:
        """The sums at r = 1, 2, …, each (configurations,), of spins (sites, configurations) of numpy or jax."""
        lattice = spins.reshape(*self.shape, -1)
        # With the other axis first, every line of the lattice runs along the second.
        views = [lattice[None]] if len(self.shape) == 1 else [lattice, lattice.swapaxes(0, 1)]
        return tuple(sum(self._along_lines(lines, r) for lines in views) for r in self._distances)

    def _along_lines(self, lines, r: int):
        """Σ over pairs at distance r of (lines, L, configurations)."""
        total = (lines[:, r:] * lines[:, :-r]).sum((0, 1))
        return total + (lines[:, :r] * lines[:, -r:]).sum((0, 1)) if self.periodic else total


def correlations_of(hamiltonian: HamiltonianConfig) -> Correlations | None:
    """Those of a Hamiltonian's lattice; None where it is neither a chain nor a square, as the toric code's 2 L²."""
    side, sites = hamiltonian.side, hamiltonian.sites
    shapes = {side: (side,), side**2: (side, side)}
    if sites not in shapes:
        return None
    return Correlations(shapes[sites], hamiltonian.boundary == "periodic")
