"""Physics known exactly, made with nothing of the code under test."""

from __future__ import annotations

import numpy as np

SIGMA_X = np.array([[0.0, 1.0], [1.0, 0.0]])
SIGMA_Z = np.array([[1.0, 0.0], [0.0, -1.0]])


def site_operator(matrix: np.ndarray, site: int, sites: int) -> np.ndarray:
    """A one-spin matrix on `site`, identity elsewhere; bit `site` of the row index is that spin."""
    result = np.eye(1)
    for other in reversed(range(sites)):
        result = np.kron(result, matrix if other == site else np.eye(2))
    return result


def square_bonds(side: int, periodic: bool) -> list[tuple[int, int]]:
    """Nearest neighbours of the square lattice, each pair once; site = side · row + column."""
    bonds = set()
    for row in range(side):
        for column in range(side):
            for other_row, other_column in ((row + 1, column), (row, column + 1)):
                if not periodic and max(other_row, other_column) >= side:
                    continue
                pair = (side * row + column, side * (other_row % side) + other_column % side)
                bonds.add(tuple(sorted(pair)))
    return sorted(bonds)


def ising_matrix(side: int, field: float, coupling: float = 1.0, periodic: bool = False) -> np.ndarray:
    """H = −J Σ σz σz − h Σ σx by Kronecker products, (2^N, 2^N)."""
    sites = side**2
    matrix = np.zeros((2**sites, 2**sites))
    for left, right in square_bonds(side, periodic):
        matrix -= coupling * site_operator(SIGMA_Z, left, sites) @ site_operator(SIGMA_Z, right, sites)
    for site in range(sites):
        matrix -= field * site_operator(SIGMA_X, site, sites)
    return matrix


def relu_state(weights: np.ndarray) -> np.ndarray:
    """Normalised exp Σ_j relu(Σ_i s_i W_ij) over all configurations, one at a time."""
    sites = len(weights)
    psi = np.zeros(2**sites)
    for configuration in range(2**sites):
        spins = np.array([1 - 2 * (configuration >> site & 1) for site in range(sites)])
        psi[configuration] = np.exp(np.clip(spins @ weights, 0, None).sum())
    return psi / np.linalg.norm(psi)
