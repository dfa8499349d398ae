"""Spin–spin correlations against sums over all pairs and all configurations, written out."""

import itertools
import math

import jax
import numpy as np
import pytest

from nqs import full_summation, runs
from nqs.config import (
    DenseRun,
    FeedForward,
    Measurement,
    PauliTerms,
    ToricCode,
    Training,
    TransverseFieldIsing,
)
from nqs.correlations import Correlations, correlations_of
from nqs.networks import network_of
from nqs.statistics import estimate
from nqs.tasks import Task
from tests.nqs.oracles import relu_state


def pairs_at_distances(shape, periodic):
    """{r: pairs of sites} from coordinates: equal but for one axis, where they are r apart, perhaps around."""
    side, found = shape[0], {}
    places = list(itertools.product(range(side), repeat=len(shape)))
    for (i, one), (j, other) in itertools.combinations(enumerate(places), 2):
        apart = [abs(a - b) for a, b in zip(one, other, strict=True) if a != b]
        if len(apart) == 1:
            r = min(apart[0], side - apart[0]) if periodic else apart[0]
            found.setdefault(r, []).append((i, j))
    return dict(sorted(found.items()))


def brute_force(psi, shape, periodic):
    """[⟨s_i s_j⟩ over all pairs at distance r], by a loop over configurations; spin i is + where bit i is 0."""
    sites, means = math.prod(shape), []
    for pairs in pairs_at_distances(shape, periodic).values():
        total = 0.0
        for x, amplitude in enumerate(psi):
            spins = [1 - 2 * (x >> site & 1) for site in range(sites)]
            total += amplitude**2 * sum(spins[i] * spins[j] for i, j in pairs)
        means.append(total / len(pairs))
    return means


def ising_chain(sites, boundary):
    bonds = [(i, (i + 1) % sites) for i in range(sites if boundary == "periodic" else sites - 1)]
    terms = [(-1.0, f"Z{i} Z{j}") for i, j in bonds] + [(-1.0, f"X{i}") for i in range(sites)]
    return PauliTerms(name="chain", sites=sites, side=sites, boundary=boundary, terms=terms)


LATTICES = {
    "3 × 3 open": TransverseFieldIsing(side=3, field=2.0),
    "3 × 3 periodic": TransverseFieldIsing(side=3, field=2.0, boundary="periodic"),
    "2 × 2 periodic": TransverseFieldIsing(side=2, field=2.0, boundary="periodic"),
    "chain of 8": ising_chain(8, "open"),
    "ring of 8": ising_chain(8, "periodic"),
    "ring of 7": ising_chain(7, "periodic"),
}
DISTANCES = {"3 × 3 open": 2, "3 × 3 periodic": 1, "2 × 2 periodic": 1, "chain of 8": 7, "ring of 8": 4}
DISTANCES |= {"ring of 7": 3}


@pytest.mark.parametrize("name", LATTICES)
def test_exact_correlations_are_those_of_all_pairs_and_configurations(name):
    hamiltonian = LATTICES[name]
    correlations = correlations_of(hamiltonian)
    sites = hamiltonian.sites
    # A network without any symmetry of the lattice: axes, directions and sites all differ.
    weights = 0.5 * np.random.default_rng(8).normal(size=(sites, 6))
    found = full_summation.mean_products(relu_state(weights), correlations)
    expected = brute_force(relu_state(weights), correlations.shape, correlations.periodic)
    assert len(found) == DISTANCES[name] and {error for _, error in found} == {0.0}
    np.testing.assert_allclose([mean for mean, _ in found], expected, rtol=1e-12, atol=1e-14)


def test_each_distance_has_its_own_sign_in_a_striped_configuration():
    """Rows of a 4 × 4 lattice alternate: −1 and +1 along x, 1 along y; a shift by one more would swap them."""
    stripes = np.repeat([1.0, -1.0, 1.0, -1.0], 4)[:, None]
    for periodic in (False, True):
        correlations = Correlations((4, 4), periodic)
        means = [
            float(total[0]) / count
            for total, count in zip(correlations(stripes), correlations.counts, strict=True)
        ]
        assert means == ([0.0, 1.0] if periodic else [0.0, 1.0, 0.0])
    chain = Correlations((6,), False)
    sums = [float(total[0]) for total in chain(np.array([1.0, 1, -1, 1, 1, 1])[:, None])]
    assert sums == [1.0, 0.0, 1.0, 2.0, 1.0]


def run(hamiltonian, steps=30):
    return DenseRun(
        hamiltonian=hamiltonian,
        network=FeedForward(width_per_spin=1, initial_std=0.1),
        training=Training(samples=64),
        steps=steps,
        replicate=0,
    )


def test_a_small_lattice_has_exact_correlations_in_its_row():
    hamiltonian = LATTICES["3 × 3 open"]
    outcome = runs.advance(Task(run(hamiltonian), 0, Measurement(sweeps=4)), 1e9)
    correlations, psi = correlations_of(hamiltonian), relu_state(network_of(outcome.weights)["hidden"])
    expected = brute_force(psi, correlations.shape, correlations.periodic)
    np.testing.assert_allclose(outcome.state["correlation_z"], expected, rtol=1e-10)
    assert outcome.state["correlation_z_error"] == [0.0] * len(expected)


def test_sampled_correlations_are_within_their_errors(monkeypatch):
    """4 × 4, where sums are possible: the same run measured on its chains instead, eight times."""
    hamiltonian = TransverseFieldIsing(side=4, field=2.5)
    dense = run(hamiltonian).model_copy(update={"training": Training(samples=256)})
    monkeypatch.setattr(runs, "FULL_SUMMATION_SITES", 15)
    pulls = []
    for replicate in range(8):
        task = Task(dense.model_copy(update={"replicate": replicate}), 0, Measurement(sweeps=8))
        outcome = runs.advance(task, 1e9)
        assert outcome.state["estimator"] == "sampling"
        psi = relu_state(network_of(outcome.weights)["hidden"])
        exact = full_summation.mean_products(psi, correlations_of(hamiltonian))
        errors = np.array(outcome.state["correlation_z_error"])
        assert np.all((errors > 1e-4) & (errors < 0.02))
        pulls.append((outcome.state["correlation_z"] - np.array([mean for mean, _ in exact])) / errors)
    pulls = np.array(pulls)
    assert pulls.shape == (8, 3)
    # Means of eight with spread 0.35 and rms 1 ± 0.25, five of these: the distances are far from independent.
    assert np.all(np.abs(pulls.mean(0)) < 5 / np.sqrt(8)), pulls.mean(0)
    assert np.all(np.sqrt((pulls**2).mean(0)) < 1 + 5 / np.sqrt(16)), pulls


def test_sums_of_jax_and_numpy_are_the_same_integers():
    spins = np.sign(np.random.default_rng(0).normal(size=(25, 40)))
    for correlations in (Correlations((5, 5), True), Correlations((25,), False)):
        for ours, theirs in zip(correlations(spins), jax.jit(correlations)(spins), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_other_lattices_have_none():
    ladder = PauliTerms(name="ladder", sites=6, side=3, terms=[(-1.0, "X0"), (-1.0, "Z0 Z5")])
    assert correlations_of(ToricCode(side=2)) is correlations_of(ladder) is None
    task = Task(run(ladder, steps=1), 0, Measurement(sweeps=4))
    assert "correlation_z" not in runs.advance(task, 1e9).state


def test_errors_are_those_of_chain_means():
    """Two chains that never move: the spread of their means, however many sweeps repeat them."""
    spins = np.ones((4, 2))
    spins[1, 1] = -1.0
    sums = Correlations((4,), False)(spins)
    value = estimate(np.tile(np.asarray(sums[0]) / 3, (10, 1)))
    assert value.mean == pytest.approx((1 - 1 / 3) / 2) and value.error == pytest.approx(2 / 3)
