"""`--explain`: what a run is, why it is there, what it waits for, and all that happened to it."""

import json

import pytest

from orchestrator.__main__ import main
from orchestrator.plan import Profile
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.standing import Standing
from orchestrator.story import find_run, story_data
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import SWEEP_FILE, run_ids, run_study, small_plan

PLAN = small_plan()
(BAD, GOOD), (OF_BAD, OF_GOOD) = run_ids(PLAN, "dense"), run_ids(PLAN, "trajectory")


@pytest.fixture(scope="module")
def half_failed(tmp_path_factory):
    """One dense run fails, and what starts from it is blocked; the other half is done."""
    path = tmp_path_factory.mktemp("half") / "run"
    run_study(path, PLAN, FakeEngine(bugs=((BAD, 0),)))
    return path


def story(path, run_id, plan=PLAN) -> dict:
    return story_data(Standing.of(plan, path), run_id)


def test_a_finished_trajectory_tells_its_family_its_levels_and_its_files(half_failed):
    told = story(half_failed, OF_GOOD)
    tickets = [k for k in run_ids(PLAN, "ticket") if PLAN.jobs[k].parent_run_id == OF_GOOD]
    assert [parent["run_id"] for parent in told["parents"]] == [GOOD]
    assert [child["run_id"] for child in told["children"]] == tickets
    assert told["why"].endswith(f"prunes dense run {GOOD} in 3 levels, with 2 tickets at its levels")
    assert [(level["level"], level["remaining"], level["steps"]) for level in told["levels"]] == [
        (level, PLAN.jobs[OF_GOOD].remaining(level), 5) for level in (1, 2, 3)
    ]
    assert told["fields"]["pruning_ratio"] == 0.2 and "variant" not in told["fields"]
    assert (told["outcome"]["outcome"], told["outcome"]["batch"]) == ("done", 1)
    assert [(found["level"], found["step"], found["whole"]) for found in told["checkpoints"]] == [
        (3, 5, True)
    ]
    on_disk = {str(path) for path in half_failed.rglob(f"{OF_GOOD}*")}
    # Three tables a level, its row of `runs`, the last checkpoint and the log.
    assert set(told["files"]) == on_disk and len(on_disk) == 3 * 3 + 1 + 1 + 1
    begun, ended = told["log"][-2:]
    assert "level 3: begins on cpu 0" in begun and "level 3: done, energy " in ended


def test_a_failed_run_tells_its_failures_its_log_and_what_tries_it_again(half_failed):
    told = story(half_failed, BAD)
    assert told["status"] == "failed"
    assert told["state"].startswith("at level 0: RuntimeError: a bug on purpose")
    assert told["state"].endswith("once mended, --retry-failed tries it again")
    (attempt,) = told["attempts"]
    assert (attempt["error_class"], attempt["attempt"]) == ("bug", 1)
    assert any("with a second line" in line for line in told["log"])
    assert str(RunDirectory(half_failed).log(BAD)) in told["files"]


def test_a_blocked_ticket_names_the_run_that_blocks_it_and_why_that_failed(half_failed):
    ticket = next(k for k in run_ids(PLAN, "ticket") if PLAN.jobs[k].parent_run_id == OF_BAD)
    told = story(half_failed, ticket)
    assert told["blocked_by"] == BAD
    assert told["state"].startswith(f"blocked by {BAD}: RuntimeError: a bug on purpose")
    assert [parent["run_id"] for parent in told["parents"]] == [OF_BAD, BAD]
    assert f"with the mask of level 2 of {OF_BAD}" in told["why"]


def test_a_run_that_waits_says_for_what_and_one_that_was_stopped_where(tmp_path):
    assert story(tmp_path / "none", GOOD)["state"] == "level 0 can start once a slot is free"
    assert story(tmp_path / "none", OF_GOOD)["state"] == f"level 1 waits for level 0 of {GOOD}"
    run_study(tmp_path, PLAN, stop_after=1)
    (stopped,) = {path.name.split(".")[0] for path in RunDirectory(tmp_path).checkpoints.iterdir()}
    assert story(tmp_path, stopped)["state"] == "level 0 from step 3 can start once a slot is free"


def test_what_the_sweep_no_longer_asks_for_is_told_too_finished_or_not(half_failed, tmp_path):
    fewer = small_plan(replicates=1)
    dropped = story(half_failed, next(iter({GOOD, BAD} - set(fewer.jobs))), fewer)
    assert dropped["status"] == "left behind"
    assert "not asked for by small, profile paper, as the sweep is now" in dropped["why"]
    run_study(tmp_path, PLAN, stop_after=1)
    (stopped,) = {path.name.split(".")[0] for path in RunDirectory(tmp_path).checkpoints.iterdir()}
    other = small_plan(profiles={"paper": Profile(pretraining_steps=9, steps_per_level=5, ticket_steps=4)})
    assert story(tmp_path, stopped, other)["state"] == "begun and not finished"


def test_a_reference_energy_has_a_story(half_failed):
    (reference,) = run_ids(PLAN, "reference")
    told = story(half_failed, reference)
    assert (told["status"], told["fields"]["method"], told["fields"]["side"]) == ("done", "ed", 2)


def test_a_beginning_that_fits_one_run_is_enough(half_failed):
    standing = Standing.of(PLAN, half_failed)
    assert find_run(standing, GOOD[:6]) == GOOD
    with pytest.raises(StudyError, match="4 runs begin so: k"):
        find_run(standing, "k")
    with pytest.raises(StudyError, match="no run of small, profile paper begins so"):
        find_run(standing, "dx")


@pytest.mark.parametrize("run_id", [GOOD, BAD, OF_GOOD, OF_BAD])
def test_the_command_prints_it_for_a_person_and_for_a_program(run_id, half_failed, tmp_path, capsys):
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    arguments = [str(tmp_path / "small.py"), "--out", str(half_failed), "--explain", run_id[:8]]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run_id"] == run_id
    assert text.startswith(f"{run_id}: {told['what']}\n{told['why']}\n{told['status']}: {told['state']}\n")
    for line in told["log"]:
        assert line in text
    for level in told["levels"]:
        assert f"{level['energy']:.8g} ± 0.1" in text
