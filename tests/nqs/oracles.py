"""Physics known exactly, and NetKet's own steps, made with nothing of the code under test."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np

SIGMA_X = np.array([[0.0, 1.0], [1.0, 0.0]])
SIGMA_Y = np.array([[0.0, -1j], [1j, 0.0]])
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


# Strings of Pauli letters: a coefficient, the letters and their sites, as in (−0.5, "XX", (0, 1)).
Strings = list[tuple[float, str, tuple[int, ...]]]


def pauli_matrix(strings: Strings, sites: int) -> np.ndarray:
    """The sum of Pauli strings by Kronecker products, (2^N, 2^N) complex."""
    letters = {"X": SIGMA_X, "Y": SIGMA_Y, "Z": SIGMA_Z}
    matrix = np.zeros((2**sites, 2**sites), complex)
    for coefficient, string, chosen in strings:
        product = np.eye(2**sites)
        for letter, site in zip(string, chosen, strict=True):
            product = product @ site_operator(letters[letter], site, sites)
        matrix += coefficient * product
    return matrix


def netket_strings(strings: Strings, sites: int):
    """The sum of Pauli strings as NetKet's operator."""
    full = []
    for _, string, chosen in strings:
        letters = dict(zip(chosen, string, strict=True))
        full.append("".join(letters.get(site, "I") for site in range(sites)))
    weights = [coefficient for coefficient, _, _ in strings]
    return nk.operator.PauliStringsJax(nk.hilbert.Spin(0.5, sites), full, weights)


def xxz_strings(bonds, anisotropy: float = 1.0, field: float = 0.0, sites: int = 0) -> Strings:
    """Σ (σx σx + σy σy + Δ σz σz) − h Σ σz: an antiferromagnet, before any rotation."""
    strings = []
    for bond in bonds:
        strings += [(1.0, "XX", tuple(bond)), (1.0, "YY", tuple(bond)), (anisotropy, "ZZ", tuple(bond))]
    return strings + [(-field, "Z", (site,)) for site in range(sites if field else 0)]


def ring_bonds(sites: int) -> list[tuple[int, int]]:
    """Neighbours on a ring."""
    return [(site, (site + 1) % sites) for site in range(sites)]


def relu_state(weights: np.ndarray) -> np.ndarray:
    """Normalised exp Σ_j relu(Σ_i s_i W_ij) over all configurations, one at a time."""
    sites = len(weights)
    psi = np.zeros(2**sites)
    for configuration in range(2**sites):
        spins = np.array([1 - 2 * (configuration >> site & 1) for site in range(sites)])
        psi[configuration] = np.exp(np.clip(spins @ weights, 0, None).sum())
    return psi / np.linalg.norm(psi)


def relu_log_psi(weights, rows):
    """log ψ of rows of spins (batch, sites), from the flattened weights of one relu layer."""
    return jax.nn.relu(rows @ weights.reshape(rows.shape[-1], -1)).sum(-1)


def netket_update(
    operator, weights: np.ndarray, indices: np.ndarray, spins: np.ndarray, shift: float, log_psi=relu_log_psi
):
    """δ of the live weights and the energy, from NetKet's own SR pieces on samples that are handed to it.

    Args:
        weights: flattened or not, zeros where pruned; `indices` are the live ones, flattened.
        spins: (sites, samples).
        log_psi: of (flattened weights, rows of spins).
    """
    sites, samples = spins.shape

    def apply(variables, rows):
        full = jnp.zeros(weights.size).at[indices].set(variables["params"]["live"])
        return log_psi(full, rows)

    sampler = nk.sampler.MetropolisLocal(nk.hilbert.Spin(0.5, sites), n_chains=samples)
    state = nk.vqs.MCState(
        sampler,
        apply_fun=apply,
        variables={"params": {"live": jnp.asarray(weights.ravel()[indices])}},
        n_samples=samples,
        n_discard_per_chain=0,
    )
    # NetKet is handed our samples: (chains, 1, sites).
    state._samples = jnp.asarray(spins.T, state.samples.dtype).reshape(-1, 1, sites)
    driver = nk.driver.VMC_SR(
        operator,
        nk.optimizer.Sgd(1.0),
        diag_shift=shift,
        variational_state=state,
        use_ntk=False,
        mode="real",
    )
    state.reset = lambda: None
    energy, update = driver.compute_loss_and_update()
    return np.asarray(update["live"]), float(energy.mean.real)


def two_spin_operator(side: int = 3):
    """−½ Σ σx σx + 0.3 Σ σz σz − 0.7 Σ σx on the open lattice: flips of one and of two spins."""
    sites = side**2
    terms = [(-0.7, "X", (site,)) for site in range(sites)]
    for bond in square_bonds(side, periodic=False):
        terms += [(-0.5, "X", bond), (0.3, "Z", bond)]
    strings = [
        "".join(letter if site in chosen else "I" for site in range(sites)) for _, letter, chosen in terms
    ]
    weights = [coefficient for coefficient, _, _ in terms]
    return nk.operator.PauliStringsJax(nk.hilbert.Spin(0.5, sites), strings, weights)
