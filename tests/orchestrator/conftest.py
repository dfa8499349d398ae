"""Compilation caches of these tests stay out of the user's own."""

import pytest

from orchestrator.actors import Slot, slot_environment


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
