"""Fixtures of the engine's tests."""

import jax
import pytest


@pytest.fixture
def quick_compilation():
    """For programs that run for milliseconds: what takes time is to optimise them."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(autouse=True, scope="module")
def _programs_of_one_file():
    """Every compiled program holds memory maps; those of the whole suite are more than Linux allows a process."""
    yield
    jax.clear_caches()
