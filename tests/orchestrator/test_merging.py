"""Results from another directory or an export: whole runs, nothing twice, and a study that can be gone on with."""

import json

import polars as pl
import pytest

from nqs.config import Training
from orchestrator import merging
from orchestrator.__main__ import FAILED, REFUSED, main
from orchestrator.export import export_study, needed_networks
from orchestrator.merging import merge_sentences
from orchestrator.plan import Regrowth, Tickets
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.standing import Standing
from orchestrator.store import read_study
from orchestrator.tables import STATES
from orchestrator.units import Unit
from tests.orchestrator import fake_engine
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import (
    assert_same_tables,
    merged_into,
    run_ids,
    run_study,
    small_plan,
    statuses,
)

PLAN = small_plan()


def other_numbers(monkeypatch, *units):
    """As on a machine that rounds otherwise, in the training of these units."""
    uniform = fake_engine._uniform
    monkeypatch.setattr(
        fake_engine,
        "_uniform",
        lambda *what: uniform(*what, "elsewhere") if what[:2] in units else uniform(*what),
    )


def thin_export(source, target):
    study = read_study(source)
    export_study(study, target, kept=needed_networks(PLAN, study))
    return target


def test_two_parts_of_a_study_become_the_whole(finished, tmp_path):
    """Both did the first runs, each others besides."""
    for name, stop_after in (("one", 9), ("other", 20)):
        run_study(tmp_path / name, PLAN, stop_after=stop_after)
    before = read_study(tmp_path / "one").states.height
    data = merged_into(tmp_path / "one", tmp_path / "other")
    assert 0 < data["networks"] == read_study(tmp_path / "other").states.height - before
    assert data["kept"] == [] and data["weights_left_out"] == 0
    again = merged_into(tmp_path / "one", tmp_path / "other")
    assert again["networks"] == again["runs"] == 0
    merged_into(tmp_path / "one", finished)
    assert_same_tables(read_study(tmp_path / "one"), read_study(finished))


def test_an_export_that_keeps_what_is_needed_is_gone_on_with(finished, tmp_path):
    """More replicates of tickets, and a level more, from six of twelve networks."""
    exported = thin_export(finished, tmp_path / "export")
    dense, trajectories = run_ids(PLAN, "dense"), run_ids(PLAN, "trajectory")
    kept = {Unit(run_id, 0) for run_id in dense} | {
        Unit(run_id, k) for run_id in trajectories for k in (2, 3)
    }
    found = read_study(exported)
    assert {*found.all_weights.select("run_id", "level").iter_rows()} == kept
    assert found.states["weights_left_out"].sum() == 12 - len(kept)
    with pytest.raises(StudyError, match=f"level 1 of run {trajectories[0]} without its weights"):
        found.weights(trajectories[0], 1)
    assert found.weights(trajectories[0], 2)["hidden"].indices.size == 41

    more = Tickets(variants=["init_imp", "rand_imp"], levels=[2], replicates=2)
    assert merged_into(tmp_path / "run", exported)["weights_left_out"] == 12 - len(kept)
    run_study(tmp_path / "run", small_plan(tickets=more, levels=4))
    run_study(tmp_path / "whole", small_plan(tickets=more, levels=4))
    found, whole = read_study(tmp_path / "run"), read_study(tmp_path / "whole")
    assert found.problems == []
    tickets = ["run_id", "level", "energy", "energy_error"]
    assert (
        found.states.filter(kind="ticket")
        .select(tickets)
        .equals(whole.states.filter(kind="ticket").select(tickets))
    )
    assert found.states.filter(level=4).height == 2


def test_what_the_masks_are_is_kept_where_the_weights_are_not(finished, tmp_path):
    exported = thin_export(finished, tmp_path / "export")
    merged_into(tmp_path / "run", exported)
    again = thin_export(tmp_path / "run", tmp_path / "again")
    masks = read_study(exported).masks
    assert masks.height == 12 and masks["live_units"].null_count() == 0
    assert read_study(again).masks.equals(masks)
    assert read_study(again).states["weights_left_out"].to_list() == (
        read_study(exported).states["weights_left_out"].to_list()
    )


def test_runs_that_would_start_from_weights_left_out_are_refused(finished, tmp_path):
    merged_into(tmp_path / "run", thin_export(finished, tmp_path / "export"))
    standing = Standing.of(small_plan(tickets=Tickets(variants=["init_imp"], levels=[1])), tmp_path / "run")
    (problem,) = standing.problems
    assert "2 of the missing runs start from networks whose weights an export left out" in problem
    assert Standing.of(PLAN, tmp_path / "run").problems == []


def test_the_directory_that_was_exported_brings_the_weights_that_the_export_left_out(finished, tmp_path):
    more = small_plan(tickets=Tickets(variants=["init_imp"], levels=[1]))
    merged_into(tmp_path / "run", thin_export(finished, tmp_path / "export"))
    assert "--merge the directory that was exported" in Standing.of(more, tmp_path / "run").problems[0]
    data = merged_into(tmp_path / "run", finished)
    assert (data["networks"], data["runs"], data["weights_left_out"], data["weights_taken_in"]) == (
        0,
        0,
        0,
        6,
    )
    assert "the weights of 6 networks that lacked them here came, too" in merge_sentences(data)
    assert Standing.of(more, tmp_path / "run").problems == []
    assert_same_tables(read_study(tmp_path / "run"), read_study(finished))
    assert merged_into(tmp_path / "run", finished)["weights_taken_in"] == 0


def test_another_history_stays_out_with_all_that_starts_from_it(finished, tmp_path, monkeypatch):
    """Another machine's rounding: the same runs, other numbers."""
    monkeypatch.setattr("tests.orchestrator.fake_engine._uniform", lambda *what: len(repr(what)) % 7 / 7)
    run_study(tmp_path / "run", PLAN, stop_after=3)
    before = read_study(tmp_path / "run")
    data = merged_into(tmp_path / "run", finished)
    begun = before.states["run_id"].unique().sort().to_list()
    assert data["kept"] == begun and 0 < len(begun) < 3
    after = read_study(tmp_path / "run").states.filter(pl.col("dense_run_id").is_in(begun))
    assert after.select("run_id", "level", "energy").equals(before.states.select("run_id", "level", "energy"))


def test_of_another_sweep_the_runs_that_both_ask_for_are_taken_in(finished, tmp_path):
    """Its trajectories are shorter, it has one replicate, and a method besides; of tickets it has other variants.

    What is taken in has no chains to go on from, so the other method's trajectory differs from one trained here.
    """
    tickets = Tickets(variants=["rand_imp", "init_rand"], levels=[2])
    plan = small_plan(name="other", replicates=1, levels=2, methods=["imp_wr", "irp_wr"], tickets=tickets)
    data = merged_into(tmp_path / "run", finished, plan)
    # Dense run and trajectory with the level more that it has, and the ticket on a random start.
    assert (data["networks"], data["runs"], data["kept"], data["lacking"]) == (5, 3, [], [])
    assert sorted(statuses(tmp_path / "run").values()).count("done") == 3
    run_study(tmp_path / "run", plan)
    run_study(tmp_path / "whole", plan)
    found, whole = read_study(tmp_path / "run"), read_study(tmp_path / "whole")
    more = found.states.filter(pl.col("kind") == "trajectory", pl.col("level") > 2)
    assert more.height == 1 and more["sweep"].unique().to_list() == ["other"]
    assert found.states.height == whole.states.height + 1
    taken_or_ticket = pl.col("method").ne_missing("irp_wr")
    key = ["run_id", "level", "energy"]
    assert whole.states.filter(taken_or_ticket).join(found.states, on=key, how="anti").is_empty()


def test_what_another_sweep_would_start_from_without_weights_stays_out(finished, tmp_path):
    """The export has the weights of level 2, whose tickets its sweep trains; this one asks for tickets of level 1."""
    exported = thin_export(finished, tmp_path / "export")
    plan = small_plan(name="other", tickets=Tickets(variants=["init_imp"], levels=[1]))
    data = merged_into(tmp_path / "run", exported, plan)
    assert data["lacking"] == sorted(run_ids(PLAN, "trajectory")) and data["networks"] == data["runs"] == 2
    assert merge_sentences(data)[1].startswith(
        "2 runs stayed out, since missing runs would start from weights"
    )
    run_study(tmp_path / "run", plan)
    found = read_study(tmp_path / "run")
    assert not found.problems and set(found.runs["status"]) == {"done"}


def test_failures_elsewhere_are_none_here(tmp_path, monkeypatch):
    """Of a run that stays as here, nor of one that was not tried here."""
    plan = small_plan(replicates=1)
    (trajectory,) = run_ids(plan, "trajectory")
    run_study(tmp_path / "source", plan, FakeEngine(bugs=((trajectory, 2),)))
    assert read_study(tmp_path / "source").attempts.height == 1
    other_numbers(monkeypatch, (trajectory, 1))
    run_study(tmp_path / "other", plan, stop_after=5)
    for name, kept in (("other", [trajectory]), ("new", [])):
        assert merged_into(tmp_path / name, tmp_path / "source", plan)["kept"] == kept
        assert read_study(tmp_path / name).states["level"].to_list() == [0, 1]
        assert {*statuses(tmp_path / name).values()} == {"done", "ready", "waiting"}


@pytest.mark.parametrize("up_to", [None, 10.3])
def test_a_branch_that_differs_stays_out_whether_its_next_ticket_is_asked_for_or_not(
    up_to, tmp_path, monkeypatch
):
    """64 weights on 4 sites, by hand: 12.75, 10.25, 8.25 a spin at levels 1 to 3."""
    changes = {"replicates": 1, "methods": ["imp_ct"], "tickets": None}
    plan = small_plan(**changes, regrowth=Regrowth(turns=[8.3]))
    run_study(tmp_path / "source", plan)
    sparser, next_one = run_ids(plan, "ticket")
    other_numbers(monkeypatch, (sparser, 2))
    run_study(tmp_path / "run", plan, stop_after=11)
    asked = small_plan(**changes, regrowth=Regrowth(turns=[8.3], up_to=up_to))
    assert (next_one in asked.jobs) == (up_to is None)
    data = merged_into(tmp_path / "run", tmp_path / "source", asked)
    assert (data["networks"], data["runs"], data["kept"]) == (0, 0, [sparser])
    assert read_study(tmp_path / "run").states.filter(kind="ticket")["run_id"].to_list() == [sparser]


@pytest.mark.parametrize(("kind", "level"), [("dense", 0), ("trajectory", 2)])
def test_a_run_that_diverged_in_one_study_alone_differs(kind, level, tmp_path):
    plan = small_plan(replicates=1)
    (run_id,) = run_ids(plan, kind)
    run_study(tmp_path / "diverged", plan, FakeEngine(diverges=((run_id, level),)))
    run_study(tmp_path / "done", plan)
    for here, there in (("diverged", "done"), ("done", "diverged")):
        before = statuses(tmp_path / here)
        data = merged_into(tmp_path / here, tmp_path / there, plan)
        assert (data["networks"], data["runs"], data["kept"]) == (0, 0, [run_id])
        assert statuses(tmp_path / here) == before


def test_a_divergence_beyond_what_is_here_is_taken_in(tmp_path):
    plan = small_plan(replicates=1)
    (trajectory,) = run_ids(plan, "trajectory")
    run_study(tmp_path / "source", plan, FakeEngine(diverges=((trajectory, 2),)))
    run_study(tmp_path / "run", plan, stop_after=5)
    data = merged_into(tmp_path / "run", tmp_path / "source", plan)
    assert (data["networks"], data["runs"], data["kept"]) == (0, 1, [])
    assert statuses(tmp_path / "run") == statuses(tmp_path / "source")


def test_what_a_kill_left_here_does_not_count_before_what_is_taken_in(finished, tmp_path, monkeypatch):
    """Weights, steps, ended run and checkpoint of a level whose row of states was never written."""
    unit = Unit(run_ids(PLAN, "trajectory")[0], 3)
    other_numbers(monkeypatch, unit)
    run_study(tmp_path / "run", PLAN)
    directory = RunDirectory(tmp_path / "run")
    directory.part(STATES, *unit).unlink()
    assert [found.level for found in directory.checkpoints_of(unit.run_id)] == [3]
    assert merged_into(tmp_path / "run", finished)["networks"] == 1
    assert_same_tables(read_study(tmp_path / "run"), read_study(finished))
    ended = [read_study(path).runs.filter(run_id=unit.run_id) for path in (tmp_path / "run", finished)]
    assert ended[0]["finished_at"].equals(ended[1]["finished_at"])
    assert directory.checkpoints_of(unit.run_id) == []


def test_runs_that_are_to_have_more_levels_are_taken_in_once(finished, tmp_path):
    longer = small_plan(levels=4)
    assert merged_into(tmp_path / "run", finished, longer)["runs"] == 8
    files = sorted((tmp_path / "run").rglob("*.parquet"))
    assert merged_into(tmp_path / "run", finished, longer)["runs"] == 0
    assert sorted((tmp_path / "run").rglob("*.parquet")) == files


def test_much_is_written_as_several_files(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "FILE_BYTES", 4000)
    merged_into(tmp_path / "run", finished)
    assert len([*(tmp_path / "run" / "tables" / "weights").iterdir()]) > 1
    assert_same_tables(read_study(tmp_path / "run"), read_study(finished))


def test_a_merge_that_is_killed_is_ended_by_the_next(finished, tmp_path, monkeypatch):
    write, left = merging.write_compacted, 0

    def until_killed(*arguments):
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        write(*arguments)

    for tables in range(4):
        left = tables
        with monkeypatch.context() as patch:
            patch.setattr(merging, "write_compacted", until_killed)
            with pytest.raises(KeyboardInterrupt):
                merged_into(tmp_path / str(tables), finished)
        assert read_study(tmp_path / str(tables)).states.is_empty()
        merged_into(tmp_path / str(tables), finished)
        assert_same_tables(read_study(tmp_path / str(tables)), read_study(finished))


def test_the_command_line_merges_and_says_so(finished, tmp_path, sweep_file, capsys):
    out = ["--out", str(tmp_path / "run")]
    assert main([str(sweep_file), *out, "--merge", str(finished)]) == 0
    assert capsys.readouterr().out == f"took in 12 trained networks and 8 ended runs from {finished}\n"
    assert main([str(sweep_file), *out, "--merge", str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == 0
    assert main([str(sweep_file), *out], engine=FakeEngine().engine()) == 0
    assert "Nothing is missing" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["nothing", "another sweep", "a file that is damaged"])
def test_what_cannot_be_merged_is_refused_and_nothing_is_made(what, finished, tmp_path, sweep_file, capsys):
    source = tmp_path / "source"
    if what == "another sweep":
        run_study(source, small_plan(name="other", training=Training(samples=4)), stop_after=2)
    elif what == "a file that is damaged":
        run_study(source, PLAN)
        part = next((source / "tables" / "steps").iterdir())
        part.write_bytes(part.read_bytes()[:50])
    code = main([str(sweep_file), "--out", str(tmp_path / "run"), "--merge", str(source)])
    assert code == REFUSED != FAILED
    error = capsys.readouterr().err
    assert str(source) in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
