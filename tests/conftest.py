"""What every test needs: float64 before jax makes its first array, one CPU device, and a core a worker."""

import itertools
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" in os.environ:
    # As slots do it: threads of several processes would fight for the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import pytest

jax.config.update("jax_enable_x64", True)

_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def own_rates(tmp_path_factory, monkeypatch):
    """Times of made-up trainings stay out of the user's cache, and out of other tests."""
    from orchestrator import rates

    folder = tmp_path_factory.getbasetemp() / "rates" / str(next(_NUMBERS))
    monkeypatch.setattr(rates, "caches", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def no_shared_references(tmp_path_factory):
    """Made-up studies have the references that they come with; those of the repository are not among them."""
    from orchestrator import store

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "REPOSITORY_REFERENCES", tmp_path_factory.mktemp("none") / "references.parquet")
        yield
