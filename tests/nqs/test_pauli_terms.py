"""A user's own Hamiltonian: from NetKet to a config, through a run, against exact diagonalisation."""

import re

import netket as nk
import numpy as np
import pytest
from pydantic import ValidationError

from nqs import runs
from nqs.config import DenseRun, FeedForward, Measurement, PauliTerms, Training
from nqs.exact_diagonalization import reference_energy
from nqs.hamiltonians import flip_form
from nqs.operators import compile_flip_form, marshall_rotated, pauli_terms
from nqs.tasks import Task
from tests.nqs.oracles import netket_strings


def heisenberg(sites):
    """Σ_i σ_i · σ_{i+1} on a ring."""
    return nk.operator.Heisenberg(nk.hilbert.Spin(0.5, sites), nk.graph.Chain(sites), sign_rule=False)


def rotated(sites):
    operator = marshall_rotated(heisenberg(sites), range(0, sites, 2))
    return pauli_terms(operator, "heisenberg ring", boundary="periodic")


def test_a_config_has_the_form_of_the_operator_it_was_read_from():
    operator = marshall_rotated(heisenberg(6), [0, 2, 4])
    for own, compiled in zip(flip_form(rotated(6)), compile_flip_form(operator), strict=True):
        np.testing.assert_array_equal(own, compiled)


def test_the_terms_are_the_identity_and_the_name_is_not():
    one = rotated(6)
    assert one.boundary == "periodic"
    assert one.identity() == one.model_copy(update={"name": "other", "side": 3, "field": 1.0}).identity()
    fewer = one.model_copy(update={"terms": one.terms[:-1]})
    assert one.identity() != fewer.identity()
    assert one.parameters_json != fewer.parameters_json


def test_order_and_spelling_of_the_terms_are_not_the_identity():
    def run_id(terms):
        return dense_run(PauliTerms(name="own", sites=12, side=12, terms=terms)).run_id

    terms = [(-1.0, "X2"), (0.6, "Z0 Z1"), (-0.5, "X0 X1 X10"), (2.0, "")]
    others = [
        terms[::-1],
        [(-1.0, "X02"), (0.6, "Z1  Z0"), (-0.5, "X10 X1 X0"), (2.0, "")],
        [(0.1, "Z0 Z1"), (-1.0, "X2"), (0.2, "Z1 Z0"), (0.3, "Z0 Z1"), *terms[2:]],
        [*terms, (0.7, "Z5"), (-0.7, "Z5")],
    ]
    assert {run_id(other) for other in others} == {run_id(terms)}
    assert len({run_id(terms), run_id(terms[:-1]), run_id([*terms, (0.7, "Z5")])}) == 3
    found = PauliTerms(name="own", sites=12, side=12, terms=terms).terms
    assert found == ((2.0, ""), (-0.5, "X0 X1 X10"), (0.6, "Z0 Z1"), (-1.0, "X2"))


def test_terms_by_hand_are_the_run_of_netkets_terms():
    letters = {"X": -1.0, "Y": -1.0, "Z": 1.0}
    terms = [(c, f"{letter}{i} {letter}{(i + 1) % 6}") for i in range(6) for letter, c in letters.items()]
    own = PauliTerms(name="by hand", sites=6, side=6, boundary="periodic", terms=terms)
    assert dense_run(own).run_id == dense_run(rotated(6)).run_id


def dense_run(hamiltonian):
    network = FeedForward(width_per_spin=1)
    return DenseRun(hamiltonian=hamiltonian, network=network, training=Training(), steps=1, replicate=0)


def test_the_reference_is_the_lowest_level_of_netkets_matrix():
    row = reference_energy(rotated(8))
    expected = np.linalg.eigvalsh(heisenberg(8).to_dense())[0]
    assert row["energy"] == pytest.approx(expected, rel=1e-10)
    assert abs(row["energy"] - expected) <= max(row["energy_error"], 1e-10)
    assert (row["hamiltonian"], row["method"], row["side"]) == ("pauli", "ed", 8)


def test_an_antiferromagnet_trains_in_its_sector_towards_the_ground_state():
    run = DenseRun(
        hamiltonian=rotated(8),
        network=FeedForward(width_per_spin=4),
        training=Training(samples=256, learning_rate=2e-2, diagonal_shift=1e-3),
        steps=300,
        replicate=0,
    )
    outcome = runs.advance(Task(run, 0, Measurement(sweeps=6, equilibration_sweeps=4)), 1e9)
    exact = reference_energy(run.hamiltonian)["energy"]
    # Summed over the sector in which the chains are; all other configurations have no weight.
    assert 0 < (outcome.state["energy"] - exact) / abs(exact) < 1e-2
    assert outcome.state["ground_state_weight"] > 0.98
    assert outcome.state["magnetization_z_squared"] == pytest.approx(0, abs=1e-20)


def test_a_sampled_state_of_one_sector_has_no_transverse_magnetization():
    """20 spins, too many for a sum: each σx leaves Σσz = 0, where the state is 0."""
    run = DenseRun(
        hamiltonian=rotated(20),
        network=FeedForward(width_per_spin=1),
        training=Training(samples=32, learning_rate=2e-2, diagonal_shift=1e-3),
        steps=1,
        replicate=0,
    )
    state = runs.advance(Task(run, 0, Measurement(sweeps=4, equilibration_sweeps=0)), 1e9).state
    assert state["estimator"] == "sampling"
    assert (state["magnetization_x"], state["magnetization_x_error"]) == (0, 0)


@pytest.mark.parametrize(
    "terms, sentence",
    [
        ([(-1.0, "X0 Q1")], "term 'X0 Q1'; allowed: letters X, Y, Z with a site"),
        ([(-1.0, "X0 X0")], "term 'X0 X0' has a site twice"),
        ([(-1.0, "X0"), (1.0, "Z1 Z01")], "term 'Z1 Z01' has a site twice"),
        ([(-1.0, "X0 X9")], "term 'X0 X9' has site 9; the sites are 0 to 3"),
        ([(1.0, "X0")], r"\+1 X0 is positive"),
        ([(-1.0, "X0"), (1.0, "Y1")], "1 Y1 is complex"),
        ([(-1.0, "Z0 Z1")], "no term flips a spin"),
    ],
)
def test_terms_that_are_none_are_refused_by_name(terms, sentence):
    with pytest.raises(ValidationError, match=sentence):
        PauliTerms(name="own", sites=4, side=4, terms=terms)


def test_an_odd_ring_that_conserves_magnetization_is_refused():
    terms = [(-1.0, f"{letter}{i} {letter}{(i + 1) % 5}") for i in range(5) for letter in "XY"]
    with pytest.raises(ValidationError, match="5 spins cannot have Σσz = 0"):
        PauliTerms(name="own", sites=5, side=5, terms=terms)


def xxz_legs(rungs):
    """Two rings of four spins, exchanges within each, with these letters between them."""
    legs = [(i, (i + 1) % 4) for i in range(4)]
    pairs = [(letter, i + leg, j + leg) for leg in (0, 4) for i, j in legs for letter in "XYZ"]
    pairs += [(letter, i, i + 4) for i in range(4) for letter in rungs]
    return [(-1.0, f"{letter}{i} {letter}{j}") for letter, i, j in pairs]


def test_exchanges_that_leave_the_lattice_in_parts_are_refused():
    with pytest.raises(ValidationError, match="no series of their exchanges connects the sites 0 and 4"):
        PauliTerms(name="Ising rungs", sites=8, side=8, terms=xxz_legs("Z"))
    PauliTerms(name="exchange rungs", sites=8, side=8, terms=xxz_legs("XYZ"))
    # Single flips, which do not conserve Σσz, reach all of it.
    PauliTerms(name="in a field", sites=8, side=8, terms=[*xxz_legs("Z"), (-1.0, "X0")])


def test_a_sign_problem_is_refused_by_the_name_of_its_terms():
    with pytest.raises(ValueError, match="X0 X1.* is positive.*marshall_rotated"):
        pauli_terms(heisenberg(6), "heisenberg ring")


@pytest.mark.parametrize(
    "sites, changes, sentence",
    [
        (6, {"side": 0}, "side is 0; allowed: greater than or equal to 1"),
        (
            6,
            {"boundary": "closed", "side": -1},
            "side is -1; .*; boundary is 'closed'; allowed: 'open' or .*",
        ),
        (5, {}, "the terms conserve Σσz, and 5 spins cannot have Σσz = 0.*"),
    ],
)
def test_what_a_config_refuses_of_an_operator_is_one_sentence(sites, changes, sentence):
    operator = marshall_rotated(heisenberg(6), [0, 2, 4])
    if sites == 5:
        bonds = [(i, (i + 1) % 5) for i in range(5)]
        operator = netket_strings([(-1.0, letters, bond) for bond in bonds for letters in ("XX", "YY")], 5)
    with pytest.raises(ValueError) as refused:
        pauli_terms(operator, "ring", **changes)
    assert re.fullmatch(sentence, str(refused.value))


@pytest.mark.parametrize("sublattice", [[0, 9], [-1, 9]])
def test_a_sublattice_off_the_lattice_is_refused(sublattice):
    with pytest.raises(ValueError, match=r"sublattice has the sites \[.*9\]; the sites are 0 to 3"):
        marshall_rotated(heisenberg(4), sublattice)
