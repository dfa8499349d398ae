"""The sweep files of the repository: each resolves at each profile, with the paper's numbers at `paper`."""

from collections import Counter

import pytest

from nqs.config import TicketRun, TrajectoryRun
from orchestrator.plan import load_plan, load_sweep
from tests.orchestrator.studies import REPOSITORY

ALL_SWEEPS = sorted(path.stem for path in (REPOSITORY / "sweeps").glob("*.py"))
SWEEPS = [name for name in ALL_SWEEPS if name != "references"]  # those that train


def plan_of(name, profile="paper"):
    return load_plan(REPOSITORY / "sweeps" / f"{name}.py", profile)


@pytest.mark.parametrize("profile", ["paper", "laptop", "tiny"])
@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_resolves_at_every_profile(name, profile):
    plan = plan_of(name, profile)
    assert plan.sweep == name
    assert any(job.kind == "dense" for job in plan.jobs.values())


@pytest.mark.parametrize("name", SWEEPS)
def test_a_laptop_has_a_reference_for_every_lattice(name):
    """`laptop` shows a figure's point against exact energies; 8 × 8 of the toric code is exact too."""
    jobs = plan_of(name, "laptop").jobs.values()
    known = {job.hamiltonian for job in jobs if job.kind == "reference"}
    assert {job.dense.hamiltonian for job in jobs if job.kind == "dense"} == known


@pytest.mark.parametrize("name", [name for name in SWEEPS if name not in ("long_range_ising", "xxz_chain")])
def test_every_lattice_of_the_paper_has_its_reference_in_the_study_of_references(name):
    references = {job.hamiltonian for job in plan_of("references").jobs.values()}
    wanted = {job.dense.hamiltonian for job in plan_of(name).jobs.values() if job.kind == "dense"}
    assert wanted <= references


def test_tiny_references_need_no_dmrg():
    plan = plan_of("references", "tiny")
    assert {job.method for job in plan.jobs.values()} == {"ed", "exact"}


def weights_and_levels(name):
    """n0 → levels of the paper's trajectories."""
    found = {
        (job.dense.initial_parameters, job.levels, job.pruning_ratio, job.dense.training.diagonal_shift)
        for job in plan_of(name).jobs.values()
        if isinstance(job, TrajectoryRun)
    }
    return sorted(found)


@pytest.mark.parametrize(
    "name, expected",
    [
        # settings.md, Fig. 1, 2, 4 and 5.
        ("lottery_tickets", [(36, 31, 0.05, 1e-3), (18432, 43, 0.12, 1e-3), (50000, 65, 0.12, 1e-4)]),
        ("width_scaling", [(10000, 54, 0.12, 1e-4), (25000, 60, 0.12, 1e-4), (50000, 65, 0.12, 1e-4)]),
        ("fields", [(50000, 65, 0.12, 1e-4)]),
        (
            "toric_code",
            [(1296, 47, 0.12, 1e-3), (2592, 53, 0.12, 1e-3), (5184, 58, 0.12, 1e-3), (10368, 64, 0.12, 1e-3)],
        ),
        ("pruning_methods", [(36, 31, 0.05, 1e-3), (50000, 65, 0.12, 1e-4)]),
    ],
)
def test_paper_has_the_papers_weights_and_levels(name, expected):
    """The residual network's 18576 parameters are 18432 that are pruned and an embedding of 144."""
    assert weights_and_levels(name) == expected


def test_methods_share_their_dense_run():
    jobs = plan_of("pruning_methods", "tiny").jobs.values()
    methods = Counter((job.parent_run_id, job.method) for job in jobs if isinstance(job, TrajectoryRun))
    parents = {parent for parent, _ in methods}
    assert len(parents) == 2  # a feed-forward and a convolutional network
    assert methods == {(p, m): 1 for p in parents for m in ("imp_wr", "imp_ct", "irp_wr")}


def test_the_fields_of_the_phase_diagram_are_one_program():
    from orchestrator.batches import batches_of

    batches = batches_of(plan_of("phase_diagram", "laptop"), 36)
    assert sorted(map(len, batches)) == [36, 36]  # all dense runs, all trajectories


def test_networks_that_are_built_have_no_trajectories():
    jobs = plan_of("toric_exact").jobs.values()
    assert {job.kind for job in jobs} == {"dense", "reference"}
    assert {job.steps for job in jobs if job.kind == "dense"} == {0}


def test_robustness_has_six_tickets_of_each_variant_and_level():
    tickets = [job for job in plan_of("robustness").jobs.values() if isinstance(job, TicketRun)]
    assert set(Counter((t.parent_run_id, t.level, t.variant) for t in tickets).values()) == {6}


def test_a_sweep_in_parts_is_one_plan():
    parts = load_sweep(REPOSITORY / "sweeps" / "lottery_tickets.py")
    assert len(parts) == 3
    networks = {
        job.dense.network.kind
        for job in plan_of("lottery_tickets", "tiny").jobs.values()
        if job.kind == "dense"
    }
    assert networks == {"ffnn", "cnn", "rescnn"}


def test_each_mask_is_trained_at_every_other_field_under_each_variant_that_has_one():
    tickets = [job for job in plan_of("mask_transfer", "laptop").jobs.values() if isinstance(job, TicketRun)]
    fields = {1, 2, 3.04438, 3.8, 6}
    found = Counter((t.parent_run_id, t.level, t.variant) for t in tickets)
    assert {variant for *_, variant in found} == {"init_imp", "rand_imp", "init_rand"}
    for (_, _, variant), trainings in found.items():
        assert trainings == (1 if variant == "init_rand" else len(fields))
    pairs = {(t.parent.dense.hamiltonian.field, t.dense.hamiltonian.field) for t in tickets}
    assert pairs == {(mask, trained) for mask in fields for trained in fields}
