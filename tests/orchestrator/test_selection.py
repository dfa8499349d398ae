"""`--only EXPR` chooses runs by their fields, implies their parents, and says what is wrong in a sentence."""

import pytest

from nqs.config import TransverseFieldIsing
from orchestrator.plan import Profile, Tickets
from orchestrator.selection import Selection, SelectionError
from orchestrator.standing import Standing
from tests.orchestrator.studies import run_ids, run_study, small_plan

PLAN = small_plan(
    hamiltonians=[TransverseFieldIsing(side=2, field=3.0), TransverseFieldIsing(side=3, field=2.5)],
    methods=["imp_wr", "imp_ct"],
)
DENSE, TRAJECTORIES, TICKETS, REFERENCES = (
    run_ids(PLAN, kind) for kind in ("dense", "trajectory", "ticket", "reference")
)


def chosen(text: str, tmp_path) -> set[str]:
    return set(Standing.of(PLAN, tmp_path / "none", Selection.parse(text)).chosen.jobs)


def ids(**fields) -> set[str]:
    """Runs by plain comparisons of the configs, to hold the selection against."""
    return {run_id for run_id in (*DENSE, *TRAJECTORIES, *TICKETS) if fields.items() <= told(run_id).items()}


def told(run_id: str) -> dict:
    job = PLAN.jobs[run_id]
    trajectory = job.parent if job.kind == "ticket" else job
    return {
        "side": job.dense.hamiltonian.side,
        "method": getattr(trajectory, "method", None),
        "kind": job.kind,
    }


def with_dense(run_ids_: set[str]) -> set[str]:
    """The runs, the dense ones that they start from, and the references of their lattices."""
    dense = {PLAN.jobs[run_id].dense.run_id for run_id in run_ids_}
    lattices = {PLAN.jobs[run_id].dense.hamiltonian for run_id in dense}
    return run_ids_ | dense | {e for e in REFERENCES if PLAN.jobs[e].hamiltonian in lattices}


def test_the_plan_of_these_tests_has_runs_of_every_kind():
    assert [len(DENSE), len(TRAJECTORIES), len(TICKETS), len(REFERENCES)] == [4, 8, 16, 2]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("side == 2 and method == 'imp_wr'", {"side": 2, "method": "imp_wr"}),
        (" side<3 and\tmethod in ('imp_wr',) ", {"side": 2, "method": "imp_wr"}),
        ("not side == 3 and not method != 'imp_wr' and not kind == 'dense'", {"side": 2, "method": "imp_wr"}),
        ("2.9 < field <= 3 and method not in ['imp_ct', 'irp_wr']", {"side": 2, "method": "imp_wr"}),
        ("method == 'imp_wr' and (side == 2 or field > 1e9)", {"side": 2, "method": "imp_wr"}),
        (
            "kind != 'ticket' and kind != 'dense' and 2 == side and kind == 'trajectory'",
            {"side": 2, "kind": "trajectory"},
        ),
        ("field > -3 and kind == 'dense'", {"kind": "dense"}),
    ],
)
def test_an_expression_chooses_the_runs_it_is_true_for_with_parents_and_references(text, fields, tmp_path):
    assert chosen(text, tmp_path) == with_dense(ids(**fields))


def test_a_chosen_ticket_implies_its_trajectory_and_that_its_dense_run(tmp_path):
    (ticket, *_) = TICKETS
    trajectory = PLAN.jobs[ticket].parent_run_id
    found = chosen(f"run_id in ('{ticket}',)", tmp_path)
    assert found == with_dense({ticket, trajectory})
    assert len(found) == 4


@pytest.mark.parametrize("text", ["variant != 'init_imp'", "variant not in ('init_imp',)", "variant > 'j'"])
def test_comparing_a_field_that_a_run_does_not_have_is_false(text, tmp_path):
    rand_imp = {run_id for run_id in TICKETS if PLAN.jobs[run_id].variant == "rand_imp"}
    trajectories = {PLAN.jobs[run_id].parent_run_id for run_id in rand_imp}
    assert chosen(text, tmp_path) == with_dense(rand_imp | trajectories)
    # Without the tickets nothing is left that it could be true for.
    with pytest.raises(SelectionError, match="chooses none"):
        chosen(f"{text} and kind != 'ticket'", tmp_path)


def test_reference_energies_are_chosen_by_the_fields_they_have(tmp_path):
    assert chosen("kind == 'reference' and side == 3", tmp_path) == {
        e for e in REFERENCES if PLAN.jobs[e].hamiltonian.side == 3
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "side = 5",
            "'side = 5' is not an expression, such as \"side == 4 and method == 'imp_wr'\": invalid",
        ),
        ("", "is not an expression"),
        ("size == 5", "'size' is not a field of runs; allowed: run_id, sweep, kind"),
        ("method == imp_wr", "(texts are quoted: 'imp_wr')"),
        ("side == '5'", "compares a number with a text"),
        ("method < 5", "compares a text with a number"),
        ("side in (4, '5')", "has numbers and texts"),
        ("method in ('imp_wr')", "after in; allowed: a list of numbers or of quoted texts"),
        ("side in ()", "after in; allowed: a list"),
        ("method is 'imp_wr'", "write == or != instead"),
        ("side", "'side' is not a condition"),
        ("side + 1 == 5", "'side + 1' cannot be compared"),
        ("side == True", "'True' cannot be compared"),
        ("method == None", "'None' cannot be compared"),
        ("__import__('os').system('true') == 0", "cannot be compared"),
        ("(lambda: side)() == 5", "cannot be compared"),
        ("side == 5 if side else field", "is not a condition"),
        ("(" * 500 + "side == 5" + ")" * 500, "not"),
        ("side == 5\0", "not"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(text, expected):
    with pytest.raises(SelectionError) as error:
        Selection.parse(text)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_choice_of_nothing_says_so(tmp_path):
    with pytest.raises(SelectionError, match="chooses none of the 30 runs of small, profile paper"):
        chosen("side > 99", tmp_path)


# --- at most so many runs


def begun(plan, path, limit, slots=1) -> set[str]:
    """What a start with --limit may do, of what is missing."""
    standing = Standing.of(plan, path).limited(limit, slots)
    return {unit.run_id for unit in standing.schedule.missing}


@pytest.mark.parametrize("limit", [1, 2, 3, 10**20])
def test_a_limit_leaves_the_first_runs_and_never_one_without_its_parent(limit, tmp_path):
    plan = small_plan()
    runs = begun(plan, tmp_path, limit)
    assert len(runs) == min(limit, len(plan.jobs))
    for run_id in runs:
        parent = getattr(plan.jobs[run_id], "parent_run_id", None)
        assert parent is None or parent in runs
    assert runs >= begun(plan, tmp_path, max(1, limit - 1))


def test_a_limit_does_not_take_a_parent_further_than_it_is(tmp_path):
    """Tickets of long trainings come before the levels that their trajectory has left."""
    plan = small_plan(
        levels=4,
        replicates=1,
        references=False,
        tickets=Tickets(variants=["init_imp"], levels=[1]),
        profiles={"paper": Profile(pretraining_steps=8, steps_per_level=5, ticket_steps=10**6)},
    )
    (trajectory,), (ticket,) = run_ids(plan, "trajectory"), run_ids(plan, "ticket")
    while not any(unit.run_id == ticket for unit in ready(plan, tmp_path)):
        run_study(tmp_path, plan, stop_after=1)
    assert begun(plan, tmp_path, 1) == {ticket}
    assert begun(plan, tmp_path, 2) == {ticket, trajectory}


def ready(plan, path):
    schedule = Standing.of(plan, path).schedule
    return [unit for unit, state in schedule.states.items() if state == "ready"]
