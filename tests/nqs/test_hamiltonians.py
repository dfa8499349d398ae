"""The flip form against NetKet's matrices and against Kronecker products."""

import subprocess
import sys

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
