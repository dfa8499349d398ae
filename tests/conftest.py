"""What every test needs: float64 before jax makes its first array, one CPU device, and a core a worker."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" in os.environ:
    # As slots do it: threads of several processes would fight for the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import pytest

jax.config.update("jax_enable_x64", True)


@pytest.fixture(scope="module")
def no_shared_references(tmp_path_factory):
    """Made-up studies have the references that they come with; those of the repository are not among them."""
    from orchestrator import store

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "REPOSITORY_REFERENCES", tmp_path_factory.mktemp("none") / "references.parquet")
        yield
