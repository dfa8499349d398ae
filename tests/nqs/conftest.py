"""Fixtures of the engine's tests."""

import jax
import pytest

from nqs import lattices


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


LATTICES = {
    "open chain": lattices.chain(6, "open"),
    "periodic chain": lattices.chain(7, "periodic"),
    "open square": lattices.square(3, "open"),
    "periodic square": lattices.square(3, "periodic"),
    "toric code": lattices.toric_code_edges(2),
}


@pytest.fixture(params=LATTICES.values(), ids=LATTICES.keys())
def lattice(request):
    """One of each kind of lattice, small enough to enumerate all sets of its spins."""
    return request.param
