"""Sweeps resolve to the runs they ask for, and say in one sentence what is wrong with them."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nqs.config import Convolutional, FeedForward, PauliTerms, ResidualConvolutional, TransverseFieldIsing
from orchestrator.plan import Plan, Profile, SweepError, Tickets, load_plan, load_sweep, resolve
from tests.orchestrator.studies import REPOSITORY, SWEEP_FILE, run_ids, small_plan, small_sweep

FINITE_SIZE = REPOSITORY / "sweeps" / "finite_size.py"


def counts(plan: Plan) -> dict[str, int]:
    return dict(Counter(job.kind for job in plan.jobs.values()))


def test_ids_are_what_they_have_always_been():
    """If these change, every result on every disk becomes unknown: raise IDENTITY_VERSION on purpose."""
    assert list(load_plan(FINITE_SIZE, "tiny").jobs) == GOLDEN_IDS


GOLDEN_IDS = [
    "d4a750d3dc6002809",
    "tb99f5d8e3186051b",
    "k21a70d5f2a5ddc8d",
    "k0269fc292fba45b3",
    "k2107480e79838bf4",
    "edaa9f5f3772e5f9f",
]


def test_paper_has_the_papers_numbers():
    plan = load_plan(FINITE_SIZE, "paper")
    trajectories = [job for job in plan.jobs.values() if job.kind == "trajectory"]

    # settings.md, Fig. 3: n0 and the number of levels by side.
    weights = {4: 2048, 5: 5000, 6: 10368, 7: 19208, 8: 32768, 9: 52488, 10: 80000}
    levels = {4: 51, 5: 58, 6: 64, 7: 69, 8: 65, 9: 74, 10: 74}
    assert {t.dense.hamiltonian.side: t.dense.initial_parameters for t in trajectories} == weights
    assert {t.dense.hamiltonian.side: t.levels for t in trajectories} == levels
    assert {t.dense.steps for t in trajectories} == {10_000}
    assert {t.steps_per_level for t in trajectories} == {1_000}
    # Seven sides, three replicates. Of twelve densities those above n0 / N fall on level 1 together:
    # 10 levels are left at side 4, 11 at sides 5 and 6, 12 beyond; each has three variants.
    tickets = 3 * 3 * (10 + 11 + 11 + 4 * 12)
    # References up to 25 sites: sides 4 and 5.
    assert counts(plan) == {"dense": 21, "trajectory": 21, "ticket": tickets, "reference": 2}


def test_laptop_has_tickets_at_six_densities_three_of_them_between_5_and_13_weights_per_spin():
    plan = load_plan(FINITE_SIZE, "laptop")
    levels = {t.dense.hamiltonian.side: t.levels for t in plan.jobs.values() if t.kind == "trajectory"}
    assert levels == {3: 34, 4: 38, 5: 42}
    for trajectory in (job for job in plan.jobs.values() if job.kind == "trajectory"):
        tickets = [job for job in plan.jobs.values() if job.kind == "ticket" and job.parent == trajectory]
        densities = {t.remaining(t.level) / t.dense.hamiltonian.sites for t in tickets}
        assert len(densities) >= 6
        assert sum(5 <= density <= 13 for density in densities) >= 3


def test_runs_that_two_entries_share_appear_once():
    twice = small_plan(networks=[FeedForward(width_per_spin=4), FeedForward(width_per_spin=4.0)])
    assert twice.jobs == small_plan().jobs


def test_more_replicates_and_levels_leave_the_old_ids_alone():
    more = small_plan(replicates=3, levels=4)
    assert set(small_plan().jobs) < set(more.jobs)


def test_other_steps_are_other_runs():
    slower = small_sweep(profiles={"paper": Profile(pretraining_steps=9, steps_per_level=5)})
    shared = set(resolve(slower, "paper").jobs) & set(small_plan().jobs)
    assert {run_id[0] for run_id in shared} == {"e"}


def test_parents_come_before_their_children():
    seen = set()
    for run_id, job in small_plan().jobs.items():
        assert getattr(job, "parent_run_id", None) in {None} | seen
        seen.add(run_id)


def test_a_plan_survives_its_json():
    plan = load_plan(FINITE_SIZE, "laptop")
    assert Plan.from_data(plan.as_data()) == plan


def test_a_plan_whose_run_was_edited_is_refused():
    data = small_plan().as_data()
    data["runs"][0]["steps"] += 1
    with pytest.raises(ValueError, match="belong to d"):
        Plan.from_data(data)


def test_a_lattice_too_large_to_diagonalise_has_no_reference_job():
    plan = small_plan(
        hamiltonians=[TransverseFieldIsing(side=5, field=3), TransverseFieldIsing(side=6, field=3)]
    )
    assert [plan.jobs[run_id].hamiltonian.side for run_id in run_ids(plan, "reference")] == [5]


def test_densities_pick_the_nearest_level_in_log_and_merge():
    tickets = Tickets(variants=["init_imp"], weights_per_spin=[1000, 11.46, 9.1, 5.7])
    plan = small_plan(levels=5, tickets=tickets)
    trajectory = plan.jobs[run_ids(plan, "trajectory")[0]]
    # 64 weights on 4 sites, by hand: 51, 41, 33, 26, 21 left.
    assert [trajectory.remaining(k) / 4 for k in range(1, 6)] == [12.75, 10.25, 8.25, 6.5, 5.25]
    # |ln(11.46/12.75)| = 0.107 < |ln(11.46/10.25)| = 0.112, though 10.25 is nearer by difference;
    # |ln(9.1/10.25)| = 0.119 > |ln(9.1/8.25)| = 0.098; |ln(5.7/6.5)| = 0.131 > |ln(5.7/5.25)| = 0.082.
    assert tickets.levels_of(trajectory) == [1, 3, 5]


def test_importing_a_sweep_file_takes_neither_long_nor_anything_heavy():
    program = (
        "import sys, time; from pathlib import Path; started = time.process_time(); "
        "from orchestrator.plan import load_sweep; load_sweep(Path('sweeps/finite_size.py')); "
        "print(time.process_time() - started); "
        "print([name for name in ('jax', 'netket', 'ray', 'polars', 'pyarrow', 'streamlit') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    seconds, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    # Processor time, which other programs on the machine don't lengthen; 0.2 s measured.
    assert float(seconds) < 0.5


BAD_SWEEPS = {
    "negative field": (
        "field=3.0",
        "field=-1.0",
        r"line 7: TransverseFieldIsing\.field is -1\.0; allowed: greater",
    ),
    "zero samples": (
        "samples=8",
        "samples=0",
        r"line 9: Training\.samples is 0; allowed: greater than or equal to 2",
    ),
    "text for a number": ("levels=3", "levels='x'", r"Sweep\.levels is 'x'; allowed: a valid integer"),
    "unknown method": (
        'methods=["imp_wr"]',
        'methods=["best"]',
        r"Sweep\.methods\[0\] is 'best'; allowed: 'imp_wr', 'imp_ct', 'irp_wr' or your own 'module:function'",
    ),
    "a text for a list": ('methods=["imp_wr"]', 'methods="imp_wr"', r"methods is 'imp_wr'; allowed: a list$"),
    "an empty list": (
        "networks=[FeedForward(width_per_spin=4)]",
        "networks=[]",
        r"networks is \[\]; allowed: a list of at least 1$",
    ),
    "a name with a space": (
        '"small"',
        '"very small"',
        r"name is 'very small'; allowed: a text that matches \^",
    ),
    "unknown field": (
        "replicates=2",
        "replicate=2",
        r"Sweep\.replicate is not a field; known: name, hamiltonians",
    ),
    "more levels than weights": (
        "levels=3",
        "levels=99",
        r"levels: .*levels is 99, more than the weights allow: 64",
    ),
    "a ticket beyond the levels": ("levels=[2]", "levels=[7]", r"tickets\.levels has 7; allowed: 1 to 3"),
    "a side without levels": ("levels=3", "levels={5: 3}", r"levels has no entry for side 2; it has 5"),
    "half a hidden unit": (
        "width_per_spin=4",
        "width_per_spin=0.3",
        r"networks\[0\]: width_per_spin 0\.3 gives 1\.2",
    ),
    "a mask without another field": (
        "levels=[2]",
        "levels=[2], transfer=True",
        r"tickets\.transfer: no other Hamiltonian of the sweep has 4 sites as 2×2 TFIM h=3 has",
    ),
    "tickets nowhere": (", levels=[2]", "", r"Tickets: neither of levels and weights_per_spin given"),
    "a missing field": (
        "    pruning_ratio=0.2,\n",
        "",
        r"pruning_ratio is missing, in the sweep or in profiles",
    ),
    "syntax": ("levels=3,", "levels=3,,", r"line 11: not valid Python"),
    "an import that fails": (
        "from nqs.config import",
        "from nqs.konfig import",
        r"line 2: ModuleNotFoundError",
    ),
    "no sweep": ("sweep = Sweep(", "swoop = Sweep(", r"there is no `sweep`"),
    "a sweep of another kind": ("sweep = Sweep(", "sweep = dict(", r"`sweep` is of type dict"),
}


@pytest.mark.parametrize("case", BAD_SWEEPS)
def test_a_bad_sweep_file_gets_one_sentence_that_names_file_and_field(case, tmp_path):
    old, new, expected = BAD_SWEEPS[case]
    assert old in SWEEP_FILE
    file = tmp_path / "study.py"
    file.write_text(SWEEP_FILE.replace(old, new))
    with pytest.raises(SweepError, match=expected) as refused:
        load_plan(file, "paper")
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("network", [Convolutional(kernels=2), ResidualConvolutional(blocks=1, filters=2)])
def test_a_convolution_on_a_chain_is_refused(network):
    """9 spins are L² sites, but with side 9 no 3 × 3 lattice."""
    lattice = PauliTerms(name="own", sites=9, side=3, terms=[(-1.0, "X0"), (-1.0, "Z0 Z1")])
    changes = {"networks": [network], "levels": 1, "tickets": None}
    assert small_plan(hamiltonians=[lattice], **changes).jobs
    with pytest.raises(
        SweepError, match=r"networks\[0\]: a convolution on own, 9 spins of side 9; it needs side² sites"
    ):
        small_plan(hamiltonians=[lattice.model_copy(update={"side": 9})], **changes)


def test_an_unknown_profile_is_answered_with_the_known_ones():
    with pytest.raises(SweepError, match="profile 'papier' .*known: 'paper', 'laptop', 'tiny'"):
        load_plan(FINITE_SIZE, "papier")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing.py", "no such sweep file$"),
        ("finite_sise.py", r"no such sweep file; did you mean sweeps/finite_size\.py\?"),
        (".", "cannot be read"),
    ],
)
def test_a_path_that_is_no_file_is_said_to_be_none(name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(SweepError, match=expected) as refused:
        load_sweep(Path(tmp_path / name))
    # The file is named once, and no exception's name is in the sentence.
    assert str(refused.value).count(str(tmp_path)) == 1 and "Error" not in str(refused.value)


def test_a_sweep_file_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "study.py"
    file.write_text(SWEEP_FILE)
    load_sweep(file)
    assert list(tmp_path.iterdir()) == [file]
