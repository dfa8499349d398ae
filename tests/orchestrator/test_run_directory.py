"""Files are whole or absent, and one driver has the directory."""

import os
import signal
import subprocess
import sys
import time

import pytest

from orchestrator import run_directory
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.tables import ATTEMPTS, STATES, TABLES_VERSION
from tests.orchestrator.studies import REPOSITORY, run_study, small_plan

HOLD_THE_LOCK = """
import sys, time
from pathlib import Path
from orchestrator.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""

ASK_FOR_THE_HOLDER = """
import sys
from pathlib import Path
from orchestrator.run_directory import RunDirectory
while True:
    RunDirectory(Path(sys.argv[1])).holder()
"""


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    return directory


def test_copies_that_someone_made_are_no_files_of_ours(directory):
    directory.write_together([(directory.checkpoint("d1", 0, 3), b"")])
    (directory.checkpoints / "d1.0.7 (copy).npz").touch()
    (directory.checkpoints / "backup.npz").touch()
    assert directory.checkpointed_runs() == {"d1"}
    assert [found.step for found in directory.checkpoints_of("d1")] == [3]
    assert directory.newest_steps() == {("d1", 0): 3}
    (directory.table(STATES) / "compacted-000004 (copy).parquet").touch()
    (directory.table(STATES) / "compacted-000002.parquet").touch()
    assert directory.new_compacted(STATES).name == "compacted-000003.parquet"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(call, directory, monkeypatch):
    path = directory.part(STATES, "d1", 0)
    directory.write_rows(STATES, path, [{"run_id": "d1", "level": 0}], "x")
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_directory.os, call, fail)
    with pytest.raises(StudyError, match=r"states/d1\.0\.parquet cannot be written: No space left on device"):
        directory.write_rows(STATES, path, [{"run_id": "d1", "level": 0, "energy": 1.0}], "x")
    assert path.read_bytes() == before
    assert list(directory.staging.iterdir()) == []
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_synced_before_it_gets_its_name_and_the_name_is_synced_too(directory, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(run_directory.os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(run_directory.os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    directory.write_together([(directory.checkpoint("d1", 0, 7), b"contents")])
    assert calls == ["fsync", "replace", "fsync"]
    assert directory.checkpoint("d1", 0, 7).read_bytes() == b"contents"


def test_what_a_killed_driver_left_half_written_goes_with_the_next_start(directory):
    (directory.staging / "d1.0.parquet").write_bytes(b"half")
    directory.prepare()
    assert list(directory.staging.iterdir()) == []


def test_a_row_keeps_its_numbers_and_its_file_says_where_it_came_from(directory):
    import pyarrow.parquet as pq

    path = directory.part(ATTEMPTS, "d1", 0, 1)
    directory.write_rows(ATTEMPTS, path, [{"run_id": "d1", "level": 0, "attempt": 1}], "my sweep")
    table = pq.read_table(path)
    assert table.to_pylist()[0] | {"attempt": 1} == table.to_pylist()[0]
    footer = {key.decode() for key in table.schema.metadata}
    assert {"tables_version", "numerics_version", "code_version", "sweep", "created_at"} <= footer
    assert table.schema.metadata[b"sweep"] == b"my sweep"


def hold_lock(path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_driver_is_told_who_has_the_directory_and_a_kill_frees_it(tmp_path):
    directory = RunDirectory(tmp_path)
    process = hold_lock(tmp_path)
    try:
        assert directory.holder().pid == process.pid
        with (
            pytest.raises(StudyError, match=f"in use by another driver .process {process.pid} on "),
            directory.lock(),
        ):
            pass
        # Being refused must not take away the record of who has it.
        assert directory.holder().pid == process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert directory.holder() is None
    with directory.lock() as holder:
        assert holder.pid == os.getpid()


def test_a_reader_that_asks_for_the_holder_does_not_make_a_driver_fail(tmp_path):
    asking = subprocess.Popen([sys.executable, "-c", ASK_FOR_THE_HOLDER, str(tmp_path)], cwd=REPOSITORY)
    try:
        time.sleep(0.5)
        for _ in range(50):
            with RunDirectory(tmp_path).lock():
                pass
    finally:
        asking.kill()
        asking.wait()


def test_a_directory_of_another_sweep_or_profile_or_of_something_else_is_refused(tmp_path):
    plan = small_plan()
    run_study(tmp_path / "run", plan, stop_after=1)
    with pytest.raises(StudyError, match="belongs to sweep 'small' at profile 'paper', not to 'other'"):
        RunDirectory(tmp_path / "run").belongs_to(small_plan(name="other"))
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    with pytest.raises(StudyError, match=r"not a run directory but not empty \(it has 'dear.txt'\)"):
        RunDirectory(tmp_path / "letters").belongs_to(plan)
    with pytest.raises(StudyError, match="is a file"):
        RunDirectory(tmp_path / "letters" / "dear.txt").belongs_to(plan)
    assert not RunDirectory(tmp_path / "new").belongs_to(plan)
    assert RunDirectory(tmp_path / "run").belongs_to(plan)


@pytest.mark.parametrize(
    "contents", ["", "{", "[]", '{"tables_version": 1}', '{"tables_version": 1, "runs": [{}]}']
)
def test_a_damaged_sweep_json_is_one_sentence(contents, tmp_path):
    (tmp_path / "sweep.json").write_text(contents)
    with pytest.raises(StudyError, match=r"sweep\.json is damaged: [^\n]+$"):
        RunDirectory(tmp_path).read_plan()


def test_tables_of_a_newer_version_are_refused(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.prepare()
    directory.write_plan(small_plan())
    text = directory.sweep_json.read_text()
    directory.sweep_json.write_text(
        text.replace(f'"tables_version": {TABLES_VERSION}', '"tables_version": 99')
    )
    with pytest.raises(StudyError, match=f"version 99; this program reads up to {TABLES_VERSION}"):
        directory.read_plan()
