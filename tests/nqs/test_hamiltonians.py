"""The flip form against NetKet's matrices and against Kronecker products."""

import subprocess
import sys

import netket as nk
import numpy as np
import pytest

from nqs.config import TransverseFieldIsing
from nqs.full_summation import apply
from nqs.hamiltonians import conserves_magnetization, flip_form
from nqs.moves import moves_of
from nqs.operators import compile_flip_form, marshall_rotated, netket_operator
from tests.nqs.oracles import ising_matrix, netket_strings, pauli_matrix, ring_bonds, xxz_strings

SITES = 6
EVERY_OTHER = range(0, SITES, 2)
LONG_RANGE = [(left, right) for right in range(SITES) for left in range(right)]
# Antiferromagnets: what the engine takes is their rotation on every other site.
ANTIFERROMAGNETS = {
    "Heisenberg": xxz_strings(ring_bonds(SITES)),
    "XXZ in a field": xxz_strings(ring_bonds(SITES), 0.5, 0.3, SITES),
}
OTHERS = {
    "long range": [(-1.0, "X", (site,)) for site in range(SITES)]
    + [(0.7 / abs(left - right) ** 3, "ZZ", (left, right)) for left, right in LONG_RANGE],
    "anisotropic": [(-1.0, "XX", (0, 1)), (0.4, "YY", (0, 1)), (-0.5, "XX", (4, 2)), (0.2, "ZZZ", (1, 3, 5))],
    # One neighbour's spin, and that of two: signs outside of the flip and on it, and letters that cancel.
    "constrained": [(-1.0, "X", (1,)), (-0.6, "ZX", (0, 1)), (0.3, "ZXZ", (0, 1, 2)), (0.1, "XZ", (1, 2))]
    + [(-0.5, "XX", (3, 4)), (0.2, "YYZ", (3, 4, 5)), (0.1, "X", (5,)), (0.2, "X", (5,)), (-0.3, "X", (5,))],
    "four spins": [(-1.0, "XXXX", (0, 1, 2, 3)), (-0.4, "YYYY", (0, 1, 2, 3)), (-0.5, "XYYX", (0, 1, 2, 3))]
    + [(-0.25, "Z", (5,))],
}


def rotated_strings(strings, sublattice):
    """By hand: X and Y of the sublattice change sign."""

    def sign(letters, chosen):
        turned = [letter in "XY" and site in sublattice for letter, site in zip(letters, chosen, strict=True)]
        return (-1.0) ** sum(turned)

    return [(c * sign(letters, chosen), letters, chosen) for c, letters, chosen in strings]


def matrix_of(form, sites):
    return np.stack([apply(form, column) for column in np.eye(2**sites)], axis=1)


@pytest.mark.parametrize("side, boundary", [(2, "open"), (2, "periodic"), (3, "open"), (3, "periodic")])
def test_every_matrix_element_equals_the_kronecker_product(side, boundary):
    hamiltonian = TransverseFieldIsing(side=side, field=0.7, coupling=1.3, boundary=boundary)
    expected = ising_matrix(side, 0.7, 1.3, boundary == "periodic")
    np.testing.assert_allclose(matrix_of(flip_form(hamiltonian), side**2), expected, atol=1e-12)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
@pytest.mark.parametrize("side", [2, 3, 4, 7])
def test_the_configs_own_flip_form_is_the_one_compiled_from_netkets_operator(side, boundary):
    hamiltonian = TransverseFieldIsing(side=side, field=0.7, coupling=1.3, boundary=boundary)
    own, compiled = flip_form(hamiltonian), compile_flip_form(netket_operator(hamiltonian))
    for name, array, expected in zip(own._fields, own, compiled, strict=True):
        assert array.dtype == expected.dtype, name
        np.testing.assert_array_equal(array, expected, err_msg=name)


def test_a_slot_does_not_import_netket_for_the_configs_own_hamiltonian():
    """It would take 0.3 GiB of every slot's memory."""
    code = (
        "import sys; from nqs import config, hamiltonians, runs; "
        "hamiltonians.flip_form(config.TransverseFieldIsing(side=3, field=1.0)); "
        "assert 'netket' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", [*ANTIFERROMAGNETS, *OTHERS])
def test_a_form_has_the_matrix_elements_of_its_pauli_strings(name):
    """Against Kronecker products, and against the spectrum of NetKet's dense matrix."""
    if name in ANTIFERROMAGNETS:
        operator = netket_strings(ANTIFERROMAGNETS[name], SITES)
        spectrum = np.linalg.eigvalsh(operator.to_dense())
        operator = marshall_rotated(operator, EVERY_OTHER)
        expected = pauli_matrix(rotated_strings(ANTIFERROMAGNETS[name], EVERY_OTHER), SITES)
    else:
        operator = netket_strings(OTHERS[name], SITES)
        spectrum = np.linalg.eigvalsh(operator.to_dense())
        expected = pauli_matrix(OTHERS[name], SITES)
    matrix = matrix_of(compile_flip_form(operator), SITES)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix), spectrum, atol=1e-12)
    assert (matrix - np.diag(np.diag(matrix))).max() <= 1e-12


@pytest.mark.parametrize("kind", ["Heisenberg", "LocalOperator", "numba", "fixed Σσz"])
def test_every_kind_of_operator_of_netket_has_a_form(kind):
    hilbert, graph = nk.hilbert.Spin(0.5, SITES), nk.graph.Chain(SITES)
    strings = rotated_strings(ANTIFERROMAGNETS["Heisenberg"], EVERY_OTHER)
    expected = matrix_of(compile_flip_form(netket_strings(strings, SITES)), SITES)
    if kind == "Heisenberg":
        operator = nk.operator.Heisenberg(hilbert, graph, sign_rule=True)
    elif kind == "LocalOperator":
        x, y, z = (nk.operator.spin.sigmax, nk.operator.spin.sigmay, nk.operator.spin.sigmaz)
        operator = sum(
            z(hilbert, i) @ z(hilbert, j) - x(hilbert, i) @ x(hilbert, j) - y(hilbert, i) @ y(hilbert, j)
            for i, j in ring_bonds(SITES)
        )
    elif kind == "numba":
        operator = netket_strings(strings, SITES)
        operator = nk.operator.PauliStringsNumba(hilbert, operator.operators, operator.weights)
    else:
        operator = nk.operator.Heisenberg(nk.hilbert.Spin(0.5, SITES, total_sz=0), graph, sign_rule=True)
    np.testing.assert_allclose(matrix_of(compile_flip_form(operator), SITES), expected, atol=1e-12)


def test_constant_flips_have_no_terms_that_depend_on_spins():
    """So that the programs of the Ising model stay as they are."""
    form = compile_flip_form(netket_strings(OTHERS["long range"], SITES))
    assert form.sign_coefficients.shape == (SITES, 0) and form.sign_sites.shape == (SITES, 0, 1)
    form = compile_flip_form(netket_strings(OTHERS["constrained"], SITES))
    # The strings of site 5 cancel up to rounding; the two flips that are left have three terms and one.
    assert form.flip_sites.tolist() == [[1, SITES], [3, 4]] and form.sign_sites.shape == (2, 3, 3)


def test_a_rotation_of_one_sublattice_keeps_the_spectrum_and_fits_where_the_lattice_is_bipartite():
    operator = netket_strings(ANTIFERROMAGNETS["Heisenberg"], SITES)
    rotated = marshall_rotated(operator, EVERY_OTHER)
    spectra = [np.linalg.eigvalsh(each.to_dense()) for each in (operator, rotated)]
    np.testing.assert_allclose(*spectra, atol=1e-12)
    triangle = netket_strings(xxz_strings(ring_bonds(3)), 3)
    for sublattice in ([], [0], [0, 1], [0, 1, 2]):
        with pytest.raises(ValueError, match="is positive"):
            compile_flip_form(marshall_rotated(triangle, sublattice))


@pytest.mark.parametrize(
    "strings, sentence",
    [
        ([(0.5, "X", (0,))], r"^\+0.5 X0 is positive, up to \+0.5; "),
        ([(-1.0, "XZ", (0, 2))], r"^-1 X0 Z2 is positive, up to \+1; "),
        ([(-1.0, "X", (0,)), (1.5, "XZ", (0, 2))], r"^-1 X0 \+1.5 X0 Z2 is positive, up to \+0.5; "),
        ([(1.0, "Y", (0,))], r"^\+1 Y0 is complex"),
        ([(1j, "XX", (0, 1))], r"^\+\(0\+1j\) X0 X1 is complex"),
        (
            [(1.0, "XX", (0, 1)), (1.0, "YY", (0, 1))],
            r"^\+1 X0 X1 \+1 Y0 Y1 is positive, up to \+2; .*Marshall",
        ),
        ([(-1.0, "X" + 13 * "Z", tuple(range(14)))], "depends on 13 spins; at most 12"),
    ],
)
def test_what_the_engine_cannot_hold_is_refused_by_name(strings, sentence):
    with pytest.raises(ValueError, match=sentence):
        compile_flip_form(netket_strings(strings, 14))


def test_a_rotation_is_suggested_only_where_it_can_help():
    with pytest.raises(ValueError) as refused:
        compile_flip_form(netket_strings([(1.0, "XX", (0, 1)), (-2.0, "YY", (0, 1))], 2))
    assert "Marshall" not in str(refused.value)


@pytest.mark.parametrize(
    "operator, sentence",
    [
        (nk.operator.Ising(nk.hilbert.Spin(0.5, 4), nk.graph.Chain(4), h=-1.0), r"^\+1 X0 is positive"),
        (nk.operator.BoseHubbard(nk.hilbert.Fock(3, 4), nk.graph.Chain(4), U=1.0), "spins 1/2"),
    ],
)
def test_other_kinds_of_operators_are_refused_in_words(operator, sentence):
    with pytest.raises(ValueError, match=sentence):
        compile_flip_form(operator)


@pytest.mark.parametrize(
    "strings, conserved",
    [
        (rotated_strings(ANTIFERROMAGNETS["Heisenberg"], EVERY_OTHER), True),
        (rotated_strings(ANTIFERROMAGNETS["XXZ in a field"], EVERY_OTHER), True),
        # Exchanges next to a third spin.
        (
            [(-1.0, "XX", (0, 1)), (-1.0, "YY", (0, 1)), (0.5, "XXZ", (0, 1, 4)), (0.5, "YYZ", (0, 1, 4))],
            True,
        ),
        (OTHERS["anisotropic"], False),
        (OTHERS["long range"], False),
        ([(-1.0, "XX", (0, 1)), (-1.0, "YY", (0, 1)), (-1.0, "X", (2,))], False),
        ([(-1.0, "XX", (0, 1)), (1.0, "YY", (0, 1))], False),
        # Only beside an up spin do both letters cancel on equal spins.
        ([(-1.0, "XX", (0, 1)), (-0.5, "YY", (0, 1)), (-0.5, "YYZ", (0, 1, 2))], False),
    ],
)
def test_a_form_conserves_the_magnetization_where_its_matrix_commutes_with_it(strings, conserved):
    form = compile_flip_form(netket_strings(strings, SITES))
    total = sum(np.diag(pauli_matrix([(1.0, "Z", (site,))], SITES)) for site in range(SITES))
    matrix = pauli_matrix(strings, SITES)
    assert np.allclose(matrix * total, total[:, None] * matrix) == conserved
    assert conserves_magnetization(form, SITES) == conserved
    moves = moves_of(form, SITES)
    assert moves.exchange == conserved
    expected = form.flip_sites if conserved else np.arange(SITES)[:, None]
    np.testing.assert_array_equal(moves.sites, expected)


def test_a_diagonal_hamiltonian_is_sampled_by_single_flips():
    form = compile_flip_form(netket_strings([(1.0, "ZZ", (0, 1))], SITES))
    assert moves_of(form, SITES).sites.shape == (SITES, 1)
