"""Which studies nearby have runs that one lacks, and what a plan and a start say of them."""

import json
import shutil

import polars as pl
import pytest

from nqs.config import TransverseFieldIsing
from orchestrator import __main__ as command
from orchestrator import store
from orchestrator.__main__ import main
from orchestrator.elsewhere import found_elsewhere
from orchestrator.export import export_study, needed_networks
from orchestrator.plan import Tickets
from orchestrator.standing import Standing
from orchestrator.store import read_study
from tests.orchestrator import fake_engine
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import merged_into, run_ids, run_study, small_plan, statuses

PLAN = small_plan()


def found(own, plan=PLAN) -> list[tuple[str, int, int]]:
    """Each study's name, runs and units."""
    standing = Standing.of(plan, own)
    seconds = dict.fromkeys(standing.schedule.seconds, 1.0)
    standing.schedule.seconds.update(seconds)
    return [(each.path.name, each.runs, round(each.seconds)) for each in found_elsewhere(standing)]


@pytest.fixture
def runs(finished, tmp_path):
    """A folder with a finished study, part of it, things that are none, and no directory of its own yet."""
    folder = tmp_path / "runs"
    shutil.copytree(finished, folder / "whole")
    run_study(folder / "part", PLAN, stop_after=20)
    (folder / "notes").mkdir()
    (folder / "notes" / "sweep.json").write_text("{}")
    (folder / "loop").symlink_to(folder / "loop")
    shutil.copytree(finished, folder / "damaged")
    for part in (folder / "damaged" / "tables" / "states").iterdir():
        part.write_bytes(b"")
    return folder


def test_the_study_that_spares_most_comes_first_and_none_that_adds_nothing(runs, finished):
    assert found(runs / "own") == [("whole", 8, 12)]
    # Of the whole study the first runs alone: the other part adds what it has beyond them.
    shutil.rmtree(runs / "whole")
    states = read_study(runs / "part").states
    assert 1 < states.height < 12
    assert found(runs / "own") == [("part", states["run_id"].n_unique(), states.height)]
    only = small_plan(name="other", methods=["imp_wr", "irp_wr"], replicates=1, tickets=None)
    run_study(runs / "random", only, stop_after=15)
    plan = small_plan(methods=["imp_wr", "irp_wr"])
    (first, *_), (second, more, _) = found(runs / "own", plan)
    assert (first, second, more) == ("part", "random", 1)
    run_study(runs / "own", PLAN, stop_after=20)
    assert found(runs / "own") == []


def test_runs_of_other_sweeps_and_of_the_repository_s_exports_are_found(finished, tmp_path, monkeypatch):
    """A compacted study and an export are read, not listed."""
    export_study(read_study(finished), tmp_path / "data" / "example")
    monkeypatch.setattr(store, "REPOSITORY_REFERENCES", tmp_path / "data" / "references.parquet")
    plan = small_plan(name="other", replicates=3, tickets=None)
    assert found(tmp_path / "runs" / "own", plan) == [("example", 4, 8)]
    # Taken in, they are in compacted files; the directory is not its own neighbour.
    merged_into(tmp_path / "runs" / "own", tmp_path / "data" / "example", plan)
    assert found(tmp_path / "runs" / "own", plan) == []
    assert found(tmp_path / "runs" / "another", plan)[0][1:] == (4, 8)


def test_what_a_merge_would_leave_out_is_not_offered(finished, tmp_path, monkeypatch):
    """Masks that came without weights, runs of older numerics, and another history."""
    study = read_study(finished)
    export_study(study, tmp_path / "export", kept=needed_networks(PLAN, study))
    plan = small_plan(name="other", tickets=Tickets(variants=["init_imp"], levels=[1, 2]))
    own = tmp_path / "own"
    # The dense runs alone: tickets would start from masks that came without weights, those of level 2 stay out with them.
    assert found(own, plan) == [("export", 2, 2)]
    file = tmp_path / "export" / "runs.parquet"
    old = run_ids(PLAN, "dense")[0]
    older = pl.when(run_id=old).then(pl.col("numerics_version") - 1).otherwise("numerics_version")
    pl.read_parquet(file).with_columns(numerics_version=older).write_parquet(file)
    assert found(own, plan) == [("export", 1, 1)]
    data = merged_into(own, tmp_path / "export", plan)
    assert (data["networks"], data["stale"]) == (1, [old]) and len(data["lacking"]) == 1
    assert found(own, plan) == []

    uniform = fake_engine._uniform
    monkeypatch.setattr(fake_engine, "_uniform", lambda *what: uniform(*what, "elsewhere"))
    run_study(tmp_path / "alone" / "own", PLAN, stop_after=9)
    shutil.copytree(finished, tmp_path / "alone" / "beside")
    began = {*read_study(tmp_path / "alone" / "own").states["run_id"]}
    offered = found(tmp_path / "alone" / "own")
    assert began and sum(runs for _, runs, _ in offered) < 8 - len(began)


def test_weights_that_are_here_let_more_be_taken_in(finished, tmp_path):
    """The export lacks those of level 1, which a directory that trained the trajectories has."""
    study = read_study(finished)
    export_study(study, tmp_path / "data" / "export", kept=needed_networks(PLAN, study))
    tickets = Tickets(variants=["init_imp", "rand_imp"], levels=[1, 2])
    plan = small_plan(name="other", tickets=tickets)
    own = tmp_path / "runs" / "own"
    run_study(own, small_plan(name="other", tickets=None))
    data = merged_into(own, tmp_path / "data" / "export", plan)
    assert data["lacking"] == [] and data["networks"] == len(run_ids(PLAN, "ticket"))


def test_references_of_other_hamiltonians_stay_out(tmp_path):
    """A study of another field has its own reference energy, which this one has no use for."""
    fields = [TransverseFieldIsing(side=2, field=field) for field in (2.0, 3.0)]
    run_study(tmp_path / "both", small_plan(name="other", hamiltonians=fields, tickets=None))
    both = read_study(tmp_path / "both").references
    assert both["field"].n_unique() == 2
    merged_into(tmp_path / "own", tmp_path / "both")
    assert {*read_study(tmp_path / "own").references["field"]} == {3.0}


def test_plan_and_start_say_so_and_the_named_command_takes_them_in(
    finished, tmp_path, sweep_file, capsys, monkeypatch
):
    shutil.copytree(finished, tmp_path / "runs" / "other")
    out = ["--out", str(tmp_path / "runs" / "own")]
    assert main([str(sweep_file), *out, "--plan"]) == 0
    *_, sentence = capsys.readouterr().out.splitlines()
    path = tmp_path / "runs" / "other"
    assert sentence.startswith(f"{path} has results of 8 missing runs, ")
    assert sentence.endswith(f" of work: before a start, --merge {path} takes them in")
    assert main([str(sweep_file), *out, "--plan", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["elsewhere"]
    assert found["runs"] == 8 and found["path"] == str(path)

    # A start says it where it is worth a user's time.
    for least, said in ((1e9, False), (0, True)):
        monkeypatch.setattr(command, "_WORTH_SAYING", least)
        shutil.rmtree(tmp_path / "runs" / "own", ignore_errors=True)
        assert (
            main(
                [str(sweep_file), *out, "--executor", "inline", "--limit", "1"], engine=FakeEngine().engine()
            )
            == 0
        )
        assert ("takes them in" in capsys.readouterr().out) == said
    assert main([str(sweep_file), *out, "--merge", str(path)]) == 0
    assert set(statuses(tmp_path / "runs" / "own").values()) == {"done"}
