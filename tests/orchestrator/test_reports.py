"""--plan and --status: a reason for every run, the part that was asked for, and what no longer belongs."""

import io
import json
import sys

import polars as pl
import pytest
from rich.console import Console

from orchestrator import reports
from orchestrator import slots as slots_module
from orchestrator.__main__ import main
from orchestrator.plan import Profile
from orchestrator.reports import plan_data, print_plan, watch_status
from orchestrator.run_directory import RunDirectory
from orchestrator.standing import Standing
from orchestrator.store import read_study
from orchestrator.tables import RUNS
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import SWEEP_FILE, run_ids, run_study, small_plan

INLINE = ("--executor", "inline")


def plan_of(path, plan, **options) -> dict:
    return plan_data(Standing.of(plan, path, **options), slots=1, slots_are="1 slot")


@pytest.mark.parametrize(
    ("flags", "visible", "slots", "slots_are"),
    [
        ([], None, 4, "4 GPU slots"),
        (["--slots-per-gpu", "2"], None, 8, "8 GPU slots"),
        ([], "0,2", 2, "2 GPU slots"),
        ([], "", 3, "3 CPU slots"),
        (["--gpus", "0"], None, 3, "3 CPU slots"),
        (["--gpus", "1"], None, 1, "1 GPU slot"),
        (INLINE, None, 1, "1 CPU slot"),
        (
            ["--gpus", "6", "--address", "auto"],
            None,
            6,
            "6 GPU slots by --gpus 6, since only a start joins the cluster at auto",
        ),
        (
            ["--address", "auto"],
            None,
            4,
            "4 GPU slots as on this machine, since only a start joins the cluster at auto",
        ),
    ],
)
def test_a_plan_says_which_slots_it_counts_with_and_asks_no_ray(
    flags, visible, slots, slots_are, sweep_file, tmp_path, monkeypatch, capsys
):
    """A machine of three cores with four GPUs."""
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / name).mkdir(parents=True)
    monkeypatch.setattr(slots_module, "_DEVICES", tmp_path / "dev")
    monkeypatch.setattr(slots_module.os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    command = [str(sweep_file), "--out", str(tmp_path / "run"), "--plan", *flags]
    assert main([*command, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["slots"], data["slots_are"]) == (slots, slots_are)
    assert main(command) == 0
    assert f" on {slots_are} (from default rates" in capsys.readouterr().out


def reasons(data: dict) -> dict[str, str]:
    return {run["run_id"]: run["reason"] for run in data["runs"]}


# --- reasons


def test_every_run_of_a_new_study_is_new_and_costs_add_up_to_device_hours(tmp_path):
    plan = small_plan()
    data = plan_of(tmp_path / "none", plan)
    assert set(reasons(data)) == set(plan.jobs)
    assert set(reasons(data).values()) == {"new", "reference"}
    seconds = sum(run["takes_seconds"] for run in data["runs"])
    assert data["device_hours"] == pytest.approx(seconds / 3600)
    # One slot does all of it, one after another.
    assert data["seconds"] == pytest.approx(seconds)


def test_edits_say_which_runs_are_extended_and_which_are_new(tmp_path):
    run_study(tmp_path, small_plan())
    data = plan_of(tmp_path, small_plan(levels=5, replicates=3))
    old, new = set(small_plan().jobs), set(small_plan(replicates=3).jobs) - set(small_plan().jobs)
    assert {run_id for run_id, why in reasons(data).items() if why == "extended"} == {
        run_id for run_id in old if run_id.startswith("t")
    }
    assert {run_id for run_id, why in reasons(data).items() if why == "edited"} == new
    assert {run["why"] for run in data["runs"]} == {
        "extended from 3 to 5 levels",
        "new since the sweep was edited",
    }


def test_a_stopped_run_says_where(tmp_path):
    plan = small_plan(replicates=1, tickets=None, references=False)
    (trajectory,) = run_ids(plan, "trajectory")
    said = []
    for _ in range(7):
        run_study(tmp_path, plan, stop_after=1)
        said += [run["why"] for run in plan_of(tmp_path, plan)["runs"] if run["run_id"] == trajectory]
    # The dense run takes three reports, each level two.
    assert said == [
        *["not started"] * 3,
        "stopped in level 1 at step 3",
        "1 of 3 levels done",
        "stopped in level 2 at step 3",
        "2 of 3 levels done",
    ]


def test_what_failed_before_is_in_the_plan_only_when_it_is_to_be_tried_again(tmp_path):
    plan = small_plan()
    (bad, _) = run_ids(plan, "dense")
    run_study(tmp_path, plan, FakeEngine(bugs=((bad, 0),)))
    since = Standing.of(plan, tmp_path).study.attempts["at"].max().replace(year=9999)
    without = plan_of(tmp_path, plan, since=since)
    assert (without["runs"], without["failed"]) == ([], [bad])
    data = plan_of(tmp_path, plan, since=since, retry_failed=True)
    assert (reasons(data)[bad], data["failed"]) == ("failed", [])
    assert len(data["runs"]) == 4


def test_stale_runs_are_listed_and_so_is_what_starts_from_them(tmp_path):
    plan = small_plan(replicates=1, tickets=None)
    run_study(tmp_path, plan)
    (part,) = RunDirectory(tmp_path).table(RUNS).glob("d*")
    pl.read_parquet(part).with_columns(numerics_version=pl.lit(0, pl.Int32)).write_parquet(part)
    data = plan_of(tmp_path, small_plan(replicates=1, tickets=None, levels=4))
    assert data["stale"] == run_ids(plan, "dense")
    (run,) = data["runs"]
    assert run["why"] == "extended from 3 to 4 levels; its parent is stale"


def test_a_terminal_shows_the_first_rows_of_a_long_plan_and_says_so_a_pipe_all(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "_PLAN_ROWS", 5)
    data = plan_of(tmp_path / "none", small_plan())
    texts = []
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
        print_plan(console, data)
        texts.append(console.file.getvalue())
    shown = [sum(run_id in text for run_id in small_plan().jobs) for text in texts]
    assert shown == [5, 9]
    assert "the first 5 of 9 runs; --plan --json has all of them" in texts[0]
    assert "--json" not in texts[1]
    assert all(f"{data['device_hours']:.2g} device-hours" in text for text in texts)


# --- what no longer belongs


def test_runs_that_an_edited_sweep_does_not_ask_for_are_listed_and_kept(tmp_path, capsys):
    plan, file, out = small_plan(), tmp_path / "small.py", tmp_path / "run"
    run_study(out, plan)
    before = {path: path.read_bytes() for path in (out / "tables").rglob("*.parquet")}
    file.write_text(SWEEP_FILE.replace("pretraining_steps=8", "pretraining_steps=9"))
    old = sorted(run_id for run_id in plan.jobs if not run_id.startswith("e"))
    arguments = [str(file), "--out", str(out)]
    for flag in ("--status", "--plan"):
        assert main([*arguments, flag]) == 0
        assert "no longer asked for by the sweep: 8 runs, kept and never deleted" in capsys.readouterr().out
        assert main([*arguments, flag, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["left_behind"] == old
    main([*arguments, *INLINE], engine=FakeEngine().engine())
    capsys.readouterr()
    main([*arguments, "--status", "--json"])
    status = json.loads(capsys.readouterr().out)
    # What is left behind is not counted as done of this sweep.
    assert (status["counts"]["done"], status["left_behind"]) == (8, old)
    assert all(path.read_bytes() == contents for path, contents in before.items())


def test_a_half_finished_run_is_left_behind_too(tmp_path):
    run_study(tmp_path, small_plan(), stop_after=1)
    other = small_plan(profiles={"paper": Profile(pretraining_steps=9, steps_per_level=5, ticket_steps=4)})
    (left,) = Standing.of(other, tmp_path).left_behind
    assert left in run_ids(small_plan(), "dense")


# --- the part that is asked for


def test_only_the_chosen_runs_are_trained_told_and_exported(tmp_path, capsys):
    plan, file, out = small_plan(), tmp_path / "small.py", tmp_path / "run"
    file.write_text(SWEEP_FILE)
    arguments = [str(file), "--out", str(out), "--only", "replicate == 1 and kind == 'trajectory'"]
    (_, dense), (_, trajectory) = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    assert main([*arguments, "--plan", "--json"]) == 0
    wanted = {dense, trajectory, *run_ids(plan, "reference")}
    assert set(reasons(json.loads(capsys.readouterr().out))) == wanted
    assert main([*arguments, *INLINE], engine=FakeEngine().engine()) == 0
    assert "where replicate == 1 and kind == 'trajectory': 2 done" in capsys.readouterr().out
    done = {
        run_id
        for run_id, status in read_study(out).runs.select("run_id", "status").rows()
        if status == "done"
    }
    assert done == {dense, trajectory}
    # The plan in the directory is the whole one.
    assert set(RunDirectory(out).read_plan().jobs) == set(plan.jobs)
    assert main([*arguments, "--status", "--json"]) == 0
    assert {run["run_id"] for run in json.loads(capsys.readouterr().out)["runs"]} == done
    assert main([*arguments[:-2], *INLINE], engine=FakeEngine().engine()) == 0
    capsys.readouterr()
    assert main([*arguments, "--export", str(tmp_path / "export"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["only"] == arguments[-1]
    for name in ("runs", "states", "steps", "weights"):
        assert set(pl.read_parquet(tmp_path / "export" / f"{name}.parquet")["run_id"]) == done
    assert arguments[-1] in (tmp_path / "export" / "DATA.md").read_text()


@pytest.mark.parametrize("flags", [("--only", "replicate == 0 and kind == 'dense'"), ("--limit", "1")])
def test_a_batch_that_is_asked_for_in_part_is_recorded_in_parts(flags, tmp_path):
    """Members round differently in other company, so the record has the company that they had."""
    file, out = tmp_path / "small.py", tmp_path / "run"
    file.write_text(SWEEP_FILE)
    arguments = [str(file), "--out", str(out), "--batch", "2", *INLINE]
    assert main([*arguments, *flags], engine=FakeEngine().engine()) == 0
    first, second = run_ids(small_plan(), "dense")
    batches = RunDirectory(out).read_batches()
    assert [first] in batches and [second] in batches
    assert sorted(run_id for batch in batches for run_id in batch) == sorted(
        run_id for run_id in small_plan().jobs if not run_id.startswith("e")
    )


def test_starts_with_a_limit_do_the_study_piece_by_piece_and_exit_0(tmp_path, capsys):
    plan, file, out = small_plan(), tmp_path / "small.py", tmp_path / "run"
    file.write_text(SWEEP_FILE)
    arguments = [str(file), "--out", str(out), "--limit", "4", *INLINE]
    left = []
    for _ in range(3):
        assert main(arguments, engine=FakeEngine().engine()) == 0
        left.append(len(Standing.of(plan, out).missing_runs))
        said = f"ended after --limit 4; runs left: {left[-1]};" in capsys.readouterr().out
        assert said == (left[-1] > 0)
    assert left == [5, 1, 0]


def test_a_limit_goes_with_trajectories_that_an_edit_has_shortened(tmp_path):
    """Those have ended and are not among the first runs; their rows are closed by a start that has them."""
    file, out = tmp_path / "small.py", tmp_path / "run"
    run_study(out, small_plan(levels=5, tickets=None), stop_after=25)
    shortened = set(run_ids(small_plan(), "trajectory")) - {
        run["run_id"] for run in plan_of(out, small_plan())["runs"]
    }
    assert shortened
    file.write_text(SWEEP_FILE)
    arguments = [str(file), "--out", str(out), "--limit", "1", *INLINE]
    assert main(arguments, engine=FakeEngine().engine()) == 0


def test_fail_fast_exits_1_and_says_what_is_left(tmp_path, capsys):
    file = tmp_path / "small.py"
    file.write_text(SWEEP_FILE)
    bugs = tuple((run_id, 0) for run_id in run_ids(small_plan(), "dense"))
    arguments = [str(file), "--out", str(tmp_path / "run"), "--fail-fast", *INLINE]
    assert main(arguments, engine=FakeEngine(bugs=bugs).engine()) == 1
    assert "ended at the first failure; " in capsys.readouterr().out
    assert read_study(tmp_path / "run").attempts.height == 1


# --- watching


def test_watching_refreshes_until_it_is_interrupted(tmp_path, monkeypatch):
    run_study(tmp_path, small_plan())
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(reports.time, "sleep", sleep)
    reads = []

    def read():
        reads.append(1)
        return reports.status_data(Standing.of(small_plan(), tmp_path))

    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    watch_status(console, read)
    assert len(reads) == 3 and min(slept) >= 3
    assert console.file.getvalue().count("Ctrl-C ends it") >= 3
    assert "done      8" in console.file.getvalue()
