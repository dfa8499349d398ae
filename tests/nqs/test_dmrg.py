"""DMRG against exact diagonalisation, free fermions and itself after a stop. Needs physics-tenpy."""

import importlib.util

import numpy as np
import pytest

from nqs import dmrg
from nqs.config import PauliTerms, ReferenceJob, TransverseFieldIsing
from nqs.exact_diagonalization import ground_state_energy, reference_energy
from nqs.hamiltonians import flip_form
from nqs.references import advance_reference
from nqs.tasks import ReferenceTask

needs_tenpy = pytest.mark.skipif(
    importlib.util.find_spec("tenpy") is None,
    reason="physics-tenpy, the extra `references`, is not installed",
)
pytestmark = pytest.mark.filterwarnings("ignore")


def series(job: ReferenceJob, seconds: float = 60.0) -> list[dict]:
    """The rows of all levels, one from the state of the other."""
    rows, checkpoint = [], None
    for level in range(job.levels):
        outcome = None
        while outcome is None or not outcome.finished:
            outcome = advance_reference(ReferenceTask(job, level, checkpoint), seconds)
            checkpoint = outcome.checkpoint
        rows.append(outcome.row)
    return rows


@needs_tenpy
@pytest.mark.parametrize("parity", ["even", "odd"])
@pytest.mark.parametrize("field, boundary", [(0.1, "open"), (3.04438, "open"), (3.04438, "periodic")])
def test_nine_sites_have_the_exact_energy_and_magnetisations(field, boundary, parity):
    """32 states a bond are all that nine sites have, so nothing is discarded."""
    hamiltonian = TransverseFieldIsing(side=3, field=field, boundary=boundary)
    (row,) = series(ReferenceJob(hamiltonian=hamiltonian, method="dmrg", parity=parity))
    exact = reference_energy(hamiltonian, parity)
    assert row["energy"] == pytest.approx(exact["energy"], abs=1e-9)
    assert row["magnetization_x"] == pytest.approx(exact["magnetization_x"], abs=1e-7)
    assert row["magnetization_z_squared"] == pytest.approx(exact["magnetization_z_squared"], abs=1e-7)
    assert row["truncation_error"] < 1e-15


@needs_tenpy
def test_sixteen_sites_fall_to_the_exact_energy_as_the_weight_does():
    hamiltonian = TransverseFieldIsing(side=4, field=3.04438)
    rows = series(ReferenceJob(hamiltonian=hamiltonian, method="dmrg", levels=2))
    exact = reference_energy(hamiltonian)["energy"]
    errors = [row["energy"] - exact for row in rows]
    assert 1e-8 < errors[0] < 1e-5  # 32 states are too few: a DMRG that ignores its bond dimension fails here
    assert -1e-11 < errors[1] < 1e-9
    assert rows[1]["truncation_error"] < 1e-3 * rows[0]["truncation_error"]


@needs_tenpy
@pytest.mark.parametrize("field", [0.5, 1.0, 2.0])
def test_an_open_chain_has_the_free_fermion_energy_as_lanczos_has(field):
    """E = −Σ ε_k, ε_k the singular values of the bidiagonal matrix of h and J (Pfeuty 1970)."""
    sites = 12
    modes = np.linalg.svd(field * np.eye(sites) + np.eye(sites, k=1), compute_uv=False)
    bonds = [(-1.0, f"Z{i} Z{i + 1}") for i in range(sites - 1)]
    terms = bonds + [(-field, f"X{i}") for i in range(sites)]
    chain = PauliTerms(name="chain", sites=sites, side=sites, terms=terms)
    model = dmrg.model_of(chain)
    for parity, expected in (("even", -modes.sum()), ("odd", -modes.sum() + 2 * modes.min())):
        state = dmrg.product_state(chain, parity)
        for sweeps in range(6):
            state, info = dmrg.sweep(model, state, 32, dmrg.mixer_amplitude(sweeps))
        assert info.energy == pytest.approx(expected, abs=1e-9)
        lanczos, _ = ground_state_energy(flip_form(chain), sites, parity)
        assert info.energy == pytest.approx(lanczos, abs=1e-9)


@needs_tenpy
def test_a_series_stopped_after_every_sweep_equals_an_undisturbed_one_bit_for_bit():
    job = ReferenceJob(hamiltonian=TransverseFieldIsing(side=3, field=2.0), method="dmrg", levels=2)
    times = {"seconds", "peak_memory_bytes"}
    undisturbed, stopped = (
        [{name: value for name, value in row.items() if name not in times} for row in series(job, seconds)]
        for seconds in (60.0, 0.0)
    )
    assert stopped == undisturbed


@needs_tenpy
def test_a_state_survives_its_bytes():
    hamiltonian = TransverseFieldIsing(side=3, field=1.0)
    state, _ = dmrg.sweep(dmrg.model_of(hamiltonian), dmrg.product_state(hamiltonian, "odd"), 8, 1e-4)
    again, numbers = dmrg.from_bytes(dmrg.to_bytes(state, sweeps=3))
    assert numbers == {"sweeps": 3}
    for one, other in zip(
        [*state.tensors, *state.singular_values, *state.charges],
        [*again.tensors, *again.singular_values, *again.charges],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_the_snake_visits_every_site_and_steps_to_a_neighbour():
    order = dmrg.site_order(TransverseFieldIsing(side=4, field=1.0))
    assert sorted(order) == list(range(16))
    rows, columns = np.divmod(order, 4)
    assert set(np.abs(np.diff(rows)) + np.abs(np.diff(columns))) == {1}


def test_a_missing_tenpy_is_a_sentence_that_names_the_extra(monkeypatch):
    monkeypatch.setattr("nqs.config.find_spec", lambda name: None)
    job = ReferenceJob(hamiltonian=TransverseFieldIsing(side=3, field=1.0), method="dmrg")
    with pytest.raises(ImportError, match=r"pip install 'pruned-nqs\[references\]'"):
        advance_reference(ReferenceTask(job), 1.0)
