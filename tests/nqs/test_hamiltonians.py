"""The flip form against NetKet's matrices and against Kronecker products."""

import netket as nk
import numpy as np
import pytest

from nqs.config import TransverseFieldIsing
from nqs.full_summation import apply
from nqs.hamiltonians import compile_flip_form, flip_form, netket_operator
from tests.nqs.oracles import ising_matrix


def matrix_of(form, sites):
    return np.stack([apply(form, column) for column in np.eye(2**sites)], axis=1)


@pytest.mark.parametrize("side, boundary", [(2, "open"), (2, "periodic"), (3, "open"), (3, "periodic")])
def test_every_matrix_element_equals_the_kronecker_product(side, boundary):
    hamiltonian = TransverseFieldIsing(side=side, field=0.7, coupling=1.3, boundary=boundary)
    expected = ising_matrix(side, 0.7, 1.3, boundary == "periodic")
    np.testing.assert_allclose(matrix_of(flip_form(hamiltonian), side**2), expected, atol=1e-12)


def test_the_spectrum_equals_that_of_netkets_dense_operator():
    """NetKet numbers configurations in another order, so spectra are compared, not entries."""
    hamiltonian = TransverseFieldIsing(side=2, field=3.04438)
    expected = np.linalg.eigvalsh(netket_operator(hamiltonian).to_dense())
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix_of(flip_form(hamiltonian), 4)), expected, atol=1e-11)


@pytest.mark.parametrize(
    "strings, weights, sentence",
    [
        (["XI"], [0.5], "0.5 XI is positive"),
        (["XZ"], [-1.0], "-1 XZ flips spins with a sign"),
        (["YI"], [1.0], "flips spins with a sign"),
    ],
)
def test_what_the_engine_cannot_hold_is_refused_by_name(strings, weights, sentence):
    operator = nk.operator.PauliStringsNumba(nk.hilbert.Spin(0.5, 2), strings, weights)
    with pytest.raises(ValueError, match=sentence):
        compile_flip_form(operator)
