"""Studies on disk that several tests read, and the app as those tests run it."""

import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from explorer import loading
from tests.explorer.synthetic_study import made_up_networks, write_run_directory

APP = Path(__file__).resolve().parents[2] / "explorer" / "app.py"
NETWORKS = made_up_networks(levels=6, ticket_levels=(2, 4), ticket_replicates=1, trajectory_spread=0.3)


@pytest.fixture(autouse=True, scope="module")
def _own_references_alone(no_shared_references):
    """Everywhere in this room."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A run directory in which every planned run is done; only to be read."""
    path = tmp_path_factory.mktemp("runs") / "made_up-tiny"
    write_run_directory(path, NETWORKS)
    return path


@pytest.fixture
def untrained(tmp_path) -> Path:
    """A run directory whose driver has only written its plan."""
    path = tmp_path / "runs" / "untrained-tiny"
    write_run_directory(path, NETWORKS, trained=0)
    return path


@pytest.fixture
def app(monkeypatch, tmp_path):
    """A function that starts the app in an empty folder with a command line, and runs it once.

    Its arguments: what stands after `--`, then query parameters of the address.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "EXAMPLES", tmp_path / "data")

    def start(argument: Path | str | None = None, page: str | None = None, **address: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", *([] if argument is None else [str(argument)])])
        test = AppTest.from_file(str(APP), default_timeout=30)
        test.query_params.update(address)
        test.run()
        return test if page is None else test.switch_page(f"views/{page}.py").run()

    return start
