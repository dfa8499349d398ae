"""Lanczos against dense diagonalisation and free fermions; every member of degenerate levels."""

import numpy as np
import pytest

from nqs import toric_code
from nqs.config import PauliTerms, ReferenceJob, ToricCode, TransverseFieldIsing
from nqs.exact_diagonalization import (
    ground_state,
    ground_state_energy,
    ground_state_weight,
    lowest_levels,
    reference_energy,
)
from nqs.hamiltonians import constant_form, flip_form
from nqs.references import advance_reference
from nqs.tasks import ReferenceTask
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


def free_fermion_modes(sites: int, field: float) -> np.ndarray:
    return np.linalg.svd(field * np.eye(sites) + np.eye(sites, k=1), compute_uv=False)


@pytest.mark.parametrize("field", [0.2, 0.8, 1.0, 3.0])
def test_an_open_chain_has_the_free_fermion_energies(field):
    """16 spins: E = −Σ ε_k, with ε_k the singular values of the bidiagonal matrix of h and J (Pfeuty 1970).

    The lowest odd state has the lowest mode excited, 2 ε_1 above: 1e-11 at h = 0.2.
    """
    sites = 16
    modes = free_fermion_modes(sites, field)
    bonds = np.stack([np.arange(sites - 1), np.arange(1, sites)], axis=1)
    form = constant_form(-np.ones(sites - 1), bonds, np.full(sites, -field), np.arange(sites)[:, None])
    for parity, expected in (("even", -modes.sum()), ("odd", -modes.sum() + 2 * modes.min())):
        energy, bound = ground_state_energy(form, sites, parity)
        assert energy == pytest.approx(expected, abs=1e-11)
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


# --- any Hamiltonian, in the whole space


def open_chain(sites: int, field: float) -> PauliTerms:
    terms = [(-1.0, f"Z{i} Z{i + 1}") for i in range(sites - 1)] + [(-field, f"X{i}") for i in range(sites)]
    return PauliTerms(name="chain", sites=sites, side=sites, terms=terms)


def test_twenty_spins_of_any_terms_have_the_free_fermion_energy():
    row = reference_energy(open_chain(20, 5.0))
    assert row["energy"] == pytest.approx(-free_fermion_modes(20, 5.0).sum(), abs=1e-10)
    assert row["energy_error"] < 1e-8


def of_a_job(hamiltonian):
    return advance_reference(ReferenceTask(ReferenceJob(hamiltonian=hamiltonian)), 60.0)


def test_twenty_one_spins_are_too_many_for_the_whole_space():
    chain = open_chain(21, 5.0)
    for compute in (reference_energy, ground_state, lambda h: lowest_levels(h, 1), of_a_job):
        with pytest.raises(ValueError, match="of 21 sites.*at most 20 are possible"):
            compute(chain)


@pytest.mark.parametrize("field", [0.2, 1.0, 3.0])
def test_the_lowest_levels_of_a_chain_are_the_free_fermion_excitations(field):
    """E = −Σ ε_k + 2 Σ of the excited ε_k. At 0.2 the lowest two are 5e-6 apart and must stay two."""
    sites = 8
    modes = free_fermion_modes(sites, field)
    occupied = np.arange(1 << sites)[:, None] >> np.arange(sites) & 1
    expected = np.sort(-modes.sum() + 2 * occupied @ modes)
    levels = lowest_levels(open_chain(sites, field), 12)
    np.testing.assert_allclose(levels.energies, expected[:12], rtol=0, atol=1e-9)
    assert levels.degeneracy == 1


@pytest.mark.parametrize("side", [2, 3])
def test_the_toric_code_has_four_ground_states(side):
    """E0 = −2 L² four times, and the next level, two excitations, 4 above."""
    levels = lowest_levels(ToricCode(side=side), 5)
    np.testing.assert_allclose(
        levels.energies, -2.0 * side**2 + np.array([0, 0, 0, 0, 4]), rtol=0, atol=1e-10
    )
    assert levels.degeneracy == 4
    assert levels.residuals.max() < 1e-8
    np.testing.assert_allclose(levels.vectors @ levels.vectors.T, np.eye(5), rtol=0, atol=1e-10)


def test_plain_lanczos_misses_ground_states_of_the_toric_code():
    """The method is needed: from one start, four Ritz values are not four times E0."""
    from scipy.linalg import eigvalsh_tridiagonal

    from nqs import full_summation
    from nqs.exact_diagonalization import _recurrence

    apply = full_summation.product(flip_form(ToricCode(side=2)), 8)
    coefficients = []
    for _, alpha, beta in _recurrence(apply, np.random.default_rng(1).normal(size=256)):
        coefficients.append((alpha, beta))
        if beta < 1e-10:
            break
    alphas, betas = np.array(coefficients).T
    assert np.sum(eigvalsh_tridiagonal(alphas, betas[:-1]) < -8 + 1e-6) == 1


def test_degenerate_levels_of_a_heisenberg_ring_are_all_found():
    """Six spins: a singlet, two triplets of which the upper one is doubled, …, against the dense matrix."""
    bonds = ring_bonds(6)
    strings = [
        (sign, letters, bond) for bond in bonds for sign, letters in ((-1, "XX"), (-1, "YY"), (1, "ZZ"))
    ]
    terms = [
        (float(sign), f"{letters[0]}{left} {letters[1]}{right}") for sign, letters, (left, right) in strings
    ]
    expected = np.linalg.eigvalsh(pauli_matrix(strings, 6))
    levels = lowest_levels(PauliTerms(name="ring", sites=6, side=6, terms=terms), 20)
    np.testing.assert_allclose(levels.energies, expected[:20], rtol=0, atol=1e-9)
    assert np.sum(np.abs(levels.energies - levels.energies[1]) < 1e-9) == 3


def test_every_level_of_a_small_hamiltonian_can_be_asked_for_and_no_more():
    """−X0 X1 of three spins: −1 and 1, four times each."""
    hamiltonian = PauliTerms(name="pair", sites=3, side=3, terms=[(-1.0, "X0 X1")])
    levels = lowest_levels(hamiltonian, 8)
    np.testing.assert_allclose(levels.energies, [-1] * 4 + [1] * 4, rtol=0, atol=1e-12)
    assert levels.degeneracy == 4
    for count in (0, 9):
        with pytest.raises(ValueError, match="1 to 8 are possible"):
            lowest_levels(hamiltonian, count)


def toric_terms(side: int) -> PauliTerms:
    """The toric code as a user writes it down."""
    products = [("Z", edges) for edges in toric_code.plaquettes(side)]
    products += [("X", edges) for edges in toric_code.stars(side)]
    terms = [(-1.0, " ".join(f"{letter}{edge}" for edge in edges)) for letter, edges in products]
    return PauliTerms(name="toric", sites=2 * side**2, side=side, terms=terms)


def test_the_weight_of_ground_states_counts_every_one_of_a_degenerate_level():
    """A network in one of four sectors is a ground state: its weight is 1, with the uniform vector alone it is 1/4."""
    hamiltonian = toric_terms(2)
    levels = lowest_levels(hamiltonian, 4)
    _, _, uniform = ground_state(hamiltonian)
    in_one_sector = np.zeros(256)
    spins = 1 - 2 * (np.arange(256)[None, :] >> np.arange(8)[:, None] & 1)
    one_sector = np.all([spins[loop].prod(0) == 1 for loop in toric_code.sign_loops(2)], axis=0)
    in_one_sector[one_sector] = uniform[one_sector]
    in_one_sector /= np.linalg.norm(in_one_sector)
    assert (uniform @ in_one_sector) ** 2 == pytest.approx(0.25, abs=1e-9)
    assert ground_state_weight(hamiltonian, in_one_sector) == pytest.approx(1, abs=1e-9)
    for psi in np.abs(np.random.default_rng(2).normal(size=(5, 256))):
        psi /= np.linalg.norm(psi)
        weight = ground_state_weight(hamiltonian, psi)
        assert weight == pytest.approx(np.sum((levels.vectors @ psi) ** 2), abs=1e-9)
        assert weight == pytest.approx(toric_code.ground_state_weight(2, psi), abs=1e-9)


def test_the_weight_of_a_single_ground_state_is_its_overlap_squared():
    hamiltonian = TransverseFieldIsing(side=3, field=2.0)
    psi = np.abs(np.random.default_rng(3).normal(size=512))
    psi /= np.linalg.norm(psi)
    exact = np.linalg.eigh(ising_matrix(3, 2.0))[1][:, 0]
    assert ground_state_weight(hamiltonian, psi) == pytest.approx((exact @ psi) ** 2, abs=1e-9)


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
