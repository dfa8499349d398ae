"""Which studies nearby have runs that one lacks, and what a plan and a start say of them."""

import json
import shutil

import polars as pl
import pytest

from orchestrator import __main__ as command
from orchestrator import store
from orchestrator.__main__ import main
from orchestrator.elsewhere import found_elsewhere
from orchestrator.export import export_study, needed_networks
from orchestrator.merging import merge, read_source
from orchestrator.plan import Tickets
from orchestrator.run_directory import RunDirectory
from orchestrator.store import read_study, schedule_of
from orchestrator.tables import RUNS
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import run_ids, run_study, small_plan, statuses

PLAN = small_plan()


def found(own, plan=PLAN) -> list[tuple[str, int, float]]:
    """Each study's name, runs and units: a unit is given a second."""
    schedule = schedule_of(plan, read_study(own, plan))
    return [(each.path.name, each.runs, each.seconds) for each in found_elsewhere(schedule, own)]


@pytest.fixture
def runs(finished, tmp_path):
    """A folder with a finished study, part of it, something else, and none of its own yet."""
    folder = tmp_path / "runs"
    shutil.copytree(finished, folder / "whole")
    run_study(folder / "part", PLAN, stop_after=20)
    (folder / "notes").mkdir()
    (folder / "notes" / "sweep.json").write_text("{}")
    return folder


def test_the_study_that_spares_most_comes_first_and_none_that_adds_nothing(runs):
    assert found(runs / "own") == [("whole", 8, 12.0)]
    shutil.rmtree(runs / "whole")
    states = read_study(runs / "part").states
    assert 1 < states.height < 12
    assert found(runs / "own") == [("part", states["run_id"].n_unique(), states.height)]
    run_study(runs / "own", PLAN, stop_after=20)
    assert found(runs / "own") == []


def test_runs_of_other_sweeps_and_of_the_repository_s_exports_are_found(finished, tmp_path, monkeypatch):
    """A compacted study and an export are read, not listed."""
    export_study(read_study(finished), tmp_path / "data" / "example")
    monkeypatch.setattr(store, "REPOSITORY_REFERENCES", tmp_path / "data" / "references.parquet")
    plan = small_plan(name="other", replicates=3, tickets=None)
    assert found(tmp_path / "runs" / "own", plan) == [("example", 4, 8.0)]
    # Taken in, they are in compacted files; the directory is not its own neighbour.
    directory = RunDirectory(tmp_path / "runs" / "own")
    with directory.lock():
        directory.prepare()
        directory.write_plan(plan)
        merge(directory, plan, read_source(tmp_path / "data" / "example", plan))
    assert found(tmp_path / "runs" / "own", plan) == []
    assert [name for name, *_ in found(tmp_path / "runs" / "another", plan)] == ["own"]


def test_what_could_not_be_gone_on_from_or_is_stale_is_not_offered(finished, tmp_path):
    study = read_study(finished)
    export_study(study, tmp_path / "export", kept=needed_networks(PLAN, study))
    plan = small_plan(name="other", tickets=Tickets(variants=["init_imp"], levels=[1]))
    # The dense runs alone: tickets would start from masks that came without weights.
    assert found(tmp_path / "own", plan) == [("export", 2, 2.0)]
    file = tmp_path / "export" / "runs.parquet"
    old = pl.col("run_id") == run_ids(PLAN, "dense")[0]
    older = pl.when(old).then(pl.col("numerics_version") - 1).otherwise("numerics_version")
    pl.read_parquet(file).with_columns(numerics_version=older).write_parquet(file)
    assert RUNS.name in file.name and found(tmp_path / "own", plan) == [("export", 1, 1.0)]


def test_plan_and_start_say_so_and_the_named_command_takes_them_in(
    finished, tmp_path, sweep_file, capsys, monkeypatch
):
    shutil.copytree(finished, tmp_path / "runs" / "other")
    out = ["--out", str(tmp_path / "runs" / "own")]
    assert main([str(sweep_file), *out, "--plan"]) == 0
    *_, sentence = capsys.readouterr().out.splitlines()
    path = tmp_path / "runs" / "other"
    assert sentence.startswith(f"{path} has results of 8 missing runs, ")
    assert sentence.endswith(f" of work: --merge {path} takes them in")
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
