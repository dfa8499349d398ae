"""Lanczos in the flip-even sector against dense diagonalisation and free fermions."""

import numpy as np
import pytest

from nqs.config import PauliTerms, TransverseFieldIsing
from nqs.exact_diagonalization import ground_state, ground_state_energy, reference_energy
from nqs.hamiltonians import constant_form, flip_form
from tests.nqs.oracles import ising_matrix, pauli_matrix, ring_bonds


@pytest.mark.parametrize("field", [0.1, 3.04438, 6.0])
@pytest.mark.parametrize("side, boundary", [(2, "open"), (3, "open"), (3, "periodic")])
def test_the_energy_is_the_lowest_eigenvalue_of_the_full_matrix(side, boundary, field):
    hamiltonian = TransverseFieldIsing(side=side, field=field, boundary=boundary)
    expected = np.linalg.eigvalsh(ising_matrix(side, field, periodic=boundary == "periodic"))[0]
    row = reference_energy(hamiltonian)
    assert row["energy"] == pytest.approx(expected, abs=1e-11)
    assert abs(row["energy"] - expected) <= row["energy_error"] + 1e-12
    assert row["hamiltonian_parameters"] == hamiltonian.parameters_json


def test_an_open_chain_has_the_free_fermion_energy():
    """16 spins: E = −Σ ε_k, with ε_k the singular values of the bidiagonal matrix of h and J (Pfeuty 1970)."""
    sites, field = 16, 0.8
    modes = np.linalg.svd(field * np.eye(sites) + np.eye(sites, k=1), compute_uv=False)
    bonds = np.stack([np.arange(sites - 1), np.arange(1, sites)], axis=1)
    form = constant_form(-np.ones(sites - 1), bonds, np.full(sites, -field), np.arange(sites)[:, None])
    energy, bound = ground_state_energy(form, sites)
    assert energy == pytest.approx(-modes.sum(), abs=1e-11)
    assert bound < 1e-8


def test_sixteen_sites_on_the_square_agree_with_a_library_solver():
    """SciPy's restarted Lanczos on a sparse matrix of all 2^16 states."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import eigsh

    from tests.nqs.oracles import square_bonds

    configurations = np.arange(1 << 16)
    spins = 1 - 2 * (configurations[:, None] >> np.arange(16) & 1)
    diagonal = -sum(spins[:, a] * spins[:, b] for a, b in square_bonds(4, periodic=False)).astype(float)
    rows = np.concatenate([configurations] * 17)
    columns = np.concatenate([configurations] + [configurations ^ (1 << site) for site in range(16)])
    values = np.concatenate([diagonal, np.full(16 << 16, -3.04438)])
    expected = eigsh(csr_matrix((values, (rows, columns))), k=1, which="SA")[0][0]
    energy, _ = ground_state_energy(flip_form(TransverseFieldIsing(side=4, field=3.04438)), 16)
    assert energy == pytest.approx(expected, abs=1e-10)


def test_a_term_outside_the_sector_is_refused():
    field_along_z = constant_form(np.ones(1), np.zeros((1, 1), int), -np.ones(3), np.arange(3)[:, None])
    with pytest.raises(ValueError, match="breaks the flip of all spins"):
        ground_state_energy(field_along_z, 3)


def test_a_flip_whose_coefficient_depends_on_spins_is_refused():
    form = constant_form(np.zeros(0), np.zeros((0, 1), int), -np.ones(3), np.arange(3)[:, None])
    form = form._replace(sign_coefficients=np.full((3, 1), 0.5), sign_sites=np.array([[[1]], [[2]], [[0]]]))
    with pytest.raises(ValueError, match="coefficients depend on spins"):
        ground_state_energy(form, 3)


def of_strings(strings, sites):
    """A config of an oracle's Pauli strings (coefficient, letters, sites)."""
    terms = [
        (c, " ".join(f"{letter}{site}" for letter, site in zip(letters, chosen, strict=True)))
        for c, letters, chosen in strings
    ]
    return PauliTerms(name="own", sites=sites, side=sites, terms=terms)


def exchanges(bonds, anisotropy, field=0.0, sites=0):
    """−XX − YY + Δ ZZ on each bond and −h Z on each site."""
    pairs = [
        (c, 2 * letter, bond) for bond in bonds for letter, c in zip("XYZ", (-1, -1, anisotropy), strict=True)
    ]
    return pairs + [(-field, "Z", (site,)) for site in range(sites) if field]


@pytest.mark.parametrize(
    "sites, strings",
    [
        # Of these the lowest level of all is outside of the sector, in the last case by a field.
        (4, exchanges(ring_bonds(4), -2.0)),
        (6, exchanges(ring_bonds(6), -2.0)),
        (6, exchanges(ring_bonds(6), 0.5, 3.0, 6)),
        # The uniform vector is an eigenvector, after which nothing of its Krylov space is left.
        (6, exchanges([(i, j) for j in range(6) for i in range(j)], -2.0)),
    ],
)
def test_a_conserved_magnetization_gives_the_lowest_level_of_its_sector(sites, strings):
    matrix = pauli_matrix(strings, sites)
    inside = np.flatnonzero([2 * x.bit_count() == sites for x in range(2**sites)])
    expected = np.linalg.eigvalsh(matrix[np.ix_(inside, inside)])[0]
    assert np.linalg.eigvalsh(matrix)[0] < expected - 1e-3
    energy, residual, vector = ground_state(of_strings(strings, sites))
    assert energy == pytest.approx(expected, abs=1e-10)
    assert residual < 1e-10
    assert vector[inside] @ vector[inside] == pytest.approx(1, abs=1e-12)
    assert np.all(np.delete(vector, inside) == 0)


@pytest.mark.parametrize("sites", [2, 10])
def test_an_energy_of_0_with_the_uniform_state_is_found(sites):
    """H = Σ_k w_k (1 − X_k) over sites and pairs sends the uniform vector to 0."""
    chosen = [(i,) for i in range(sites)] + [(i, i + 1) for i in range(sites - 1)]
    # Whole numbers, whose sums have no rounding: the vector becomes exactly 0.
    weights = np.random.default_rng(3).integers(1, 5, len(chosen)).astype(float)
    flips = [(-w, len(own) * "X", own) for w, own in zip(weights, chosen, strict=True)]
    energy, residual, vector = ground_state(of_strings([(weights.sum(), "", ()), *flips], sites))
    assert energy == pytest.approx(0, abs=1e-10)
    assert residual < 1e-10
    np.testing.assert_allclose(vector, 2 ** (-sites / 2), rtol=1e-8)
