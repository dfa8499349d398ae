"""kill −9 of the driver, with the real training: the tables end as an undisturbed study's, bit for bit."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.run_directory import RunDirectory
from orchestrator.store import read_study
from tests.orchestrator.studies import REPOSITORY, assert_same_tables

KILLS = 4
AGENTS = ("ray::DashboardA", "ray::RuntimeEnv")  # as the kernel shortens them


def start(out: Path, executor: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "orchestrator", "sweeps/finite_size.py", "--profile", "tiny"]
    return subprocess.Popen(
        [*command, "--out", str(out), "--executor", executor, "--gpus", "0"],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Its own group, so that what it leaves behind can be told.
        start_new_session=True,
    )


def finish(out: Path, executor: str) -> None:
    process = start(out, executor)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err


def parts(out: Path) -> set[str]:
    """The table files that the driver has written."""
    return {str(path) for path in (out / "tables").rglob("*.parquet")} if out.exists() else set()


def kill_at(process: subprocess.Popen, out: Path, new_files: int, delay: float) -> int:
    """Kill a driver so long after it has written so many table files more; how it ended."""
    before = parts(out)
    end = time.monotonic() + 120
    while process.poll() is None and len(parts(out) - before) < new_files:
        assert time.monotonic() < end, "the driver writes nothing"
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.communicate()
    return process.returncode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(out, "inline")
    return read_study(out)


def test_killed_at_random_points_the_tables_are_those_of_an_undisturbed_study(undisturbed, tmp_path):
    generator = random.Random(20)
    kills, studies = 0, 1
    while kills < KILLS:
        out = tmp_path / str(studies)
        # 24 table files are written in all; the delay reaches into the next write or the next training.
        code = kill_at(start(out, "inline"), out, generator.randint(1, 2), generator.uniform(0, 0.02))
        if code == 0:
            # It finished first: its tables count too, and the kills go on in a new study.
            assert_same_tables(undisturbed, read_study(out))
            studies += 1
            continue
        assert code == -signal.SIGKILL
        assert RunDirectory(out).holder() is None
        kills += 1
    # Most kills come in the middle.
    assert studies <= 5
    finish(out, "inline")
    assert_same_tables(undisturbed, read_study(out))


def test_ray_goes_with_its_killed_driver_and_another_ends_with_the_same_tables(undisturbed, tmp_path):
    out = tmp_path / "run"
    process = start(out, "ray")
    assert kill_at(process, out, 4, 0.0) == -signal.SIGKILL
    end = time.monotonic() + 20
    while left := working_processes(str(process.pid)):
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.1)
    finish(out, "ray")
    assert_same_tables(undisturbed, read_study(out))


def working_processes(session: str) -> list[str]:
    """Names of a session's processes, zombies aside.

    Two small agents of ray's stay for about a minute, looking for their node; they do no work.
    """
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        state, _, _, of_session = rest.split()[:4]
        if of_session == session and state != "Z" and not any(agent in name for agent in AGENTS):
            found.append(name)
    return found
