"""Compilation caches of these tests stay out of the user's own; and the small study that many of them start from."""

import shutil

import pytest

from orchestrator.slots import Slot, slot_environment
from orchestrator.store import read_study
from tests.orchestrator.studies import SWEEP_FILE, run_study, small_plan


@pytest.fixture(autouse=True, scope="session")
def cache_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="module")
def _own_references_alone(no_shared_references):
    """Everywhere in this room."""


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """A worker in this process sets variables that other rooms' tests must not see."""
    for name in slot_environment(Slot(0)):
        # Set first, so that a variable that was absent is removed again afterwards.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The run directory of a small study that ended undisturbed."""
    path = tmp_path_factory.mktemp("finished") / "run"
    run_study(path, small_plan())
    return path


@pytest.fixture(scope="module")
def undisturbed(finished):
    return read_study(finished)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def sweep_file(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(SWEEP_FILE)
    return file
