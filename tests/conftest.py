"""What every test needs: float64 before jax makes its first array, and one CPU device."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

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
