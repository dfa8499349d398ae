"""Few files instead of many: nothing is lost, whatever moment a kill comes at."""

import json
import shutil

import polars as pl
import pyarrow.parquet as pq
import pytest

from orchestrator import compaction, loop, table_files
from orchestrator.__main__ import main
from orchestrator.compaction import compact, most_parts
from orchestrator.run_directory import COMPACTED, RunDirectory, StudyError
from orchestrator.store import read_study, read_weights
from orchestrator.tables import RUNS, STATES, STEPS, TABLES_VERSION, WEIGHTS
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import assert_same_tables, run_ids, run_study, small_plan


class Killed(BaseException):
    """What no handler of an error catches, like a kill."""


def files(path, table) -> list[str]:
    return sorted(file.name for file in (path / "tables" / table.name).iterdir())


def rows_in_files(path, table) -> int:
    return sum(pq.read_metadata(file).num_rows for file in (path / "tables" / table.name).iterdir())


def assert_as_before(finished, path) -> None:
    """All that a reader gets is what it got of the parts."""
    before, after = read_study(finished), read_study(path)
    assert after.problems == []
    assert_same_tables(before, after)
    for run_id, level in before.states.select("run_id", "level").iter_rows():
        one, other = before.weights(run_id, level)["hidden"], after.weights(run_id, level)["hidden"]
        assert one.indices.tolist() == other.indices.tolist() and one.values.tolist() == other.values.tolist()


def test_a_compacted_study_is_one_file_a_table_and_reads_as_before(finished, copy):
    directory = RunDirectory(copy)
    assert compact(directory) == (12 * 3 + 8 + 1, 5)
    for table in (STATES, STEPS, WEIGHTS, RUNS):
        assert files(copy, table) == ["compacted-000001.parquet"]
        assert rows_in_files(copy, table) == rows_in_files(finished, table)
    assert_as_before(finished, copy)
    assert compact(directory) == (5, 5)
    assert files(copy, STATES) == ["compacted-000001.parquet"]


def test_files_hold_what_they_should_and_no_more(finished, copy, monkeypatch):
    sizes = [
        pq.read_metadata(file).row_group(0).total_byte_size
        for file in (copy / "tables" / "weights").iterdir()
    ]
    monkeypatch.setattr(compaction, "FILE_BYTES", 4 * max(sizes))
    compact(RunDirectory(copy))
    assert 2 < len(files(copy, WEIGHTS)) < 12
    assert_as_before(finished, copy)


def test_a_kill_at_any_moment_leaves_a_whole_study_and_the_next_compaction_ends_it(
    finished, tmp_path, monkeypatch
):
    """Every fourth write or removal is the last one in turn: 44 parts go and 4 files come."""
    name, remove = RunDirectory._name, RunDirectory.remove
    left = 0

    def killed(call):
        def until_killed(*arguments):
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return call(*arguments)

        return until_killed

    ends = 0
    for operations in range(0, 53, 4):
        path = shutil.copytree(finished, tmp_path / str(operations))
        left = operations
        with monkeypatch.context() as patch:
            patch.setattr(RunDirectory, "_name", killed(name))
            patch.setattr(RunDirectory, "remove", killed(remove))
            try:
                compact(RunDirectory(path))
                ends += 1
            except Killed:
                assert_as_before(finished, path)
        compact(RunDirectory(path))
        for table in (STATES, STEPS, WEIGHTS, RUNS):
            assert rows_in_files(path, table) == rows_in_files(finished, table), operations
            assert len(files(path, table)) == 1
        assert_as_before(finished, path)
        shutil.rmtree(path)
    assert ends == 2  # 48 and 52


def test_a_study_goes_on_from_compacted_files_to_the_same_tables(finished, tmp_path):
    plan = small_plan()
    for stop_after in (9, 10):
        run_study(tmp_path / "run", plan, stop_after=stop_after)
        compact(RunDirectory(tmp_path / "run"))
    run_study(tmp_path / "run", plan)
    assert 1 < len(files(tmp_path / "run", STATES)) < 12
    assert_same_tables(read_study(finished), read_study(tmp_path / "run"))
    compact(RunDirectory(tmp_path / "run"))
    assert_as_before(finished, tmp_path / "run")


def test_a_level_that_is_written_anew_counts_before_what_was_compacted_of_it(copy):
    directory, (trajectory, _) = RunDirectory(copy), run_ids(small_plan(), "trajectory")
    again = pl.read_parquet(directory.part(WEIGHTS, trajectory, 2)).with_columns(
        values=pl.col("values").list.eval(pl.element() + 1)
    )
    compact(directory)
    again.write_parquet(directory.part(WEIGHTS, trajectory, 2))
    for _ in range(2):
        found = read_study(copy).all_weights.filter(run_id=trajectory, level=2)
        assert found["values"].to_list() == again["values"].to_list()
        assert (
            read_weights(directory, trajectory, 2)["hidden"].values.tolist() == again["values"][0].to_list()
        )
        compact(directory)
    assert files(copy, WEIGHTS) == ["compacted-000002.parquet"]


def test_a_compacted_row_never_comes_after_a_newer_one_in_a_file_that_is_left_alone(copy):
    """File 2 has a row that was written after file 1, and a column of the future; a part lets a compaction begin."""
    directory, (trajectory, _) = RunDirectory(copy), run_ids(small_plan(), "trajectory")
    compact(directory)
    of_states = copy / "tables" / "states"
    newer = pl.read_parquet(of_states / "compacted-000001.parquet").filter(run_id=trajectory, level=2)
    newer = newer.with_columns(energy=pl.col("energy") - 1, of_the_future=1.0)
    newer.write_parquet(of_states / "compacted-000002.parquet")
    for number in range(3):
        key = {"run_id": f"d{number}", "level": 0}
        directory.write_rows(STATES, directory.part(STATES, f"d{number}", 0), [key], "small")
        compact(directory)
        rows = table_files.unique_rows(STATES, table_files.read_table(directory, STATES, []))
        assert rows.filter(run_id=trajectory, level=2)["energy"].to_list() == newer["energy"].to_list()
        assert rows.height == 12 + number + 1
    assert len(files(copy, STATES)) == 3


def test_a_driver_compacts_by_itself_at_its_start_and_as_it_goes(
    finished, sweep_file, tmp_path, monkeypatch, capsys
):
    for module in (compaction, loop):
        monkeypatch.setattr(module, "MOST_PARTS", 3)
    out = tmp_path / "run"
    run_study(out, small_plan(), stop_after=25)
    # What is written together counts at once.
    assert most_parts(RunDirectory(out)) <= 6
    assert any(name.startswith(COMPACTED) for name in files(out, STATES))
    assert "compacted-" in "".join(files(out, STATES))
    # However many parts the last merging has left.
    monkeypatch.setattr(compaction, "MOST_PARTS", -1)
    assert main([str(sweep_file), "--out", str(out), "--executor", "inline"], FakeEngine().engine()) == 0
    assert "very many small files; merging them first" in capsys.readouterr().out
    assert_as_before(finished, out)


def test_compact_is_refused_while_a_driver_has_the_directory_and_where_there_is_nothing(
    copy, sweep_file, tmp_path, capsys
):
    command = [str(sweep_file), "--compact", "--out"]
    with RunDirectory(copy).lock():
        assert main([*command, str(copy)]) == 2
    assert "is in use by another driver (process " in capsys.readouterr().err
    assert main([*command, str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err.endswith("has no results to compact yet\n")
    again = shutil.copytree(copy, tmp_path / "again")
    assert main([*command, str(copy)]) == 0
    assert capsys.readouterr().out.endswith("tables: 5 files, before 45\n")
    assert main([*command, str(again), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(again / "tables") and (told["files_before"], told["files"]) == (45, 5)
    assert "states: 12 files into one" in told["merged"]


def test_a_damaged_file_is_named_and_nothing_of_its_table_goes(copy):
    path = max((copy / "tables" / "states").iterdir())
    path.write_bytes(path.read_bytes()[:60])
    before = files(copy, STATES)
    with pytest.raises(StudyError, match=f"{path} is truncated or damaged"):
        compact(RunDirectory(copy))
    assert files(copy, STATES) == before


def test_a_file_with_columns_of_another_version_is_left_alone(finished, copy):
    path = max((copy / "tables" / "states").iterdir())
    pl.read_parquet(path).with_columns(of_the_future=1.0).write_parquet(path)
    compact(RunDirectory(copy))
    assert files(copy, STATES) == ["compacted-000001.parquet", path.name]
    assert pl.read_parquet(path)["of_the_future"].to_list() == [1.0]
    assert_as_before(finished, copy)


def test_weights_that_a_compacted_file_lacks_are_named_with_what_helps(finished, copy):
    compact(RunDirectory(copy))
    (path,) = (copy / "tables" / "weights").iterdir()
    rows = pl.read_parquet(path)
    rows.tail(-1).write_parquet(path)
    run_id, level = rows.row(0)[:2]
    (problem,) = read_study(copy).problems
    part = f"{run_id}.{level}.parquet"
    assert problem == (
        f"{copy / 'tables' / 'weights' / part} is missing, but level {level} of run {run_id} is committed, in a "
        "compacted file; restore the weights from a copy, or train the study anew in another --out"
    )
    shutil.copy(finished / "tables" / "states" / part, copy / "tables" / "states" / part)
    (problem,) = read_study(copy).problems
    assert problem.endswith(
        f"restore it, or remove {copy / 'tables' / 'states' / part} to train that level again"
    )
    with pytest.raises(StudyError, match="no compacted file of weights has its rows"):
        read_weights(RunDirectory(copy), run_id, level)
    path.write_bytes(path.read_bytes()[:200])
    assert read_study(copy).problems[0] == (
        f"{path} is truncated or damaged; restore it from a copy: it has the rows of many levels"
    )


def test_a_reader_whose_files_are_compacted_under_it_looks_again(finished, copy, monkeypatch):
    """Listing, then a whole compaction, then reading: of every table that is read at once."""
    listed, compacted = table_files.files_of, set()

    def listed_before_compaction(directory, table):
        found = listed(directory, table)
        if table not in compacted:
            compacted.add(table)
            monkeypatch.setattr(table_files, "files_of", listed)
            compact(directory)
            monkeypatch.setattr(table_files, "files_of", listed_before_compaction)
        return found

    monkeypatch.setattr(table_files, "files_of", listed_before_compaction)
    study = read_study(copy)
    assert study.problems == []
    assert_same_tables(read_study(finished), study)


def test_merged_files_say_what_wrote_their_rows_also_when_they_are_merged_again(copy):
    directory = RunDirectory(copy)
    compact(directory)
    key = {"run_id": "d0", "level": 0}
    directory.write_rows(STATES, directory.part(STATES, "d0", 0), [key], "small")
    compact(directory)
    (path,) = (copy / "tables" / "states").iterdir()
    sources = json.loads(pq.read_schema(path).metadata[b"sources"])
    assert sum(source["files"] for source in sources) == 13
    for source in sources:
        assert source["tables_version"] == str(TABLES_VERSION) and source["sweep"] == "small"
        assert source["first"] <= source["last"] < pq.read_schema(path).metadata[b"created_at"].decode()


def as_version_1(path) -> None:
    """Make a directory what version 1 wrote: fewer columns, a sweep.json without later fields."""
    for table, later in (
        (STATES, ["correlation_z", "wilson_loops", "v_score"]),
        (
            RUNS,
            [
                "turned_at",
                "mask_field",
                "mask_hamiltonian_parameters",
                "network_parameters",
                "hamiltonian_name",
            ],
        ),
    ):
        for file in (path / "tables" / table.name).iterdir():
            pl.read_parquet(file).drop(later).write_parquet(file)
    for file in (path / "tables" / "references").iterdir():
        pl.read_parquet(file).drop("parity", "gap", "gap_error").write_parquet(file)
    data = json.loads((path / "sweep.json").read_text())
    data["tables_version"] = 1
    for run in data["runs"]:
        for later in ("trained_at", "parity"):
            run.pop(later, None)
        if run["kind"] == "reference":
            del run["levels"]
    (path / "sweep.json").write_text(json.dumps(data))


def test_a_directory_of_an_older_version_is_read_goes_on_and_says_the_present_one_from_then_on(
    finished, sweep_file, tmp_path
):
    old = tmp_path / "old"
    run_study(old, small_plan(), stop_after=25)
    as_version_1(old)
    states = read_study(old).states
    assert 2 < states.height < 12 and states["v_score"].null_count() == states.height
    # Reading changes nothing.
    assert json.loads((old / "sweep.json").read_text())["tables_version"] == 1
    assert main([str(sweep_file), "--out", str(old), "--executor", "inline"], FakeEngine().engine()) == 0
    assert json.loads((old / "sweep.json").read_text())["tables_version"] == TABLES_VERSION
    # The fake training fills none of the later columns of states.
    assert read_study(old).states.equals(read_study(finished).states)
    assert main([str(sweep_file), "--out", str(old), "--compact"]) == 0
    (path,) = (old / "tables" / "states").iterdir()
    assert pq.read_schema(path).names == STATES.names
    assert set(pq.read_table(path)["run_id"].to_pylist()) == set(read_study(finished).states["run_id"])


def test_a_directory_that_is_as_planned_but_of_an_older_version_gets_the_present_one(copy):
    directory, plan = RunDirectory(copy), small_plan()
    text = directory.sweep_json.read_text()
    directory.write_plan(plan)
    assert directory.sweep_json.read_text() == text
    directory.sweep_json.write_text(text.replace(f'_version": {TABLES_VERSION}', '_version": 2', 1))
    directory.write_plan(plan)
    assert json.loads(directory.sweep_json.read_text())["tables_version"] == TABLES_VERSION
