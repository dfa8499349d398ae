"""Product states of the transverse-field Ising model: what a network with one weight a spin can be.

A hidden unit that sees one spin alone gives relu(w s) = (|w| + w s) / 2, so N such weights make any product state
with positive amplitudes, of which mean-field theory has the lowest. On a lattice with z neighbours it orders below
h = z J, far above the critical field of the model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from nqs.config import TransverseFieldIsing
from nqs.hamiltonians import lattice_bonds


class ProductState(NamedTuple):
    """The product state of lowest energy.

    Attributes:
        energy: total, units of J.
        magnetization_x, magnetization_z: (N,) ⟨σx_i⟩ and ⟨σz_i⟩ ≥ 0.
    """

    energy: float
    magnetization_x: np.ndarray
    magnetization_z: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """(N, N), the diagonal network that is this state: its ψ(+)/ψ(−) = e^w has ⟨σz⟩ = tanh w."""
        return np.diag(np.arctanh(self.magnetization_z))


def lowest_product_state(hamiltonian: TransverseFieldIsing) -> ProductState:
    """The minimum of −J Σ_⟨ij⟩ sin θ_i sin θ_j − h Σ cos θ_i over 0 ≤ θ_i < π/2."""
    left, right = lattice_bonds(hamiltonian.side, hamiltonian.boundary).T

    def energy_and_slope(angles: np.ndarray) -> tuple[float, np.ndarray]:
        z, x = np.sin(angles), np.cos(angles)
        neighbours = np.bincount(left, z[right], len(z)) + np.bincount(right, z[left], len(z))
        energy = -hamiltonian.coupling * z @ neighbours / 2 - hamiltonian.field * x.sum()
        return energy, -hamiltonian.coupling * neighbours * x + hamiltonian.field * z

    # Away from θ = 0, which is a minimum or a saddle.
    start = np.full(hamiltonian.sites, 0.5)
    limits = [(0.0, np.pi / 2)] * hamiltonian.sites
    found = minimize(
        energy_and_slope,
        start,
        jac=True,
        bounds=limits,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    return ProductState(float(found.fun), np.cos(found.x), np.sin(found.x))
