"""The compiled count of bits against numpy's, on whatever processor runs the tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs import bit_counts, reconfiguration
from nqs.bit_counts import count_differing
from nqs.linear_solve import BLOCK
from nqs.sampling import Chains
from tests.nqs.engines import laid_out, sparse_network


@pytest.mark.parametrize("items", [1, 130, 301])
@pytest.mark.parametrize("rows", [0, 1, 17, 24])
def test_counts_are_numpys_from_the_diagonal_blocks_on(items, rows):
    """Of no row, of less than a group of words, of an odd number; what lies beyond the rows in use is not counted."""
    on, up = np.random.default_rng(rows).integers(0, 2**32, (2, 24, items), dtype=np.uint32)
    found = np.asarray(jax.jit(count_differing)(on, up, rows))
    on, up = on[:rows], up[:rows]
    both = on[:, :, None] & on[:, None, :] & (up[:, :, None] ^ up[:, None, :])
    expected = np.bitwise_count(both).sum(0, dtype=np.int64)
    assert found.shape == (-(-items // 4) * 4,) * 2
    for first in range(0, items, BLOCK):
        last = min(first + BLOCK, items)
        np.testing.assert_array_equal(found[first:last, first:items], expected[first:last, first:])


@pytest.mark.parametrize("live", [40, 130])
def test_the_gram_matrix_is_the_same_whoever_counts(live, monkeypatch):
    indices, weights = sparse_network(9, 18, live)
    layout, values = laid_out("rows compiled", weights, indices)
    spins = jnp.asarray(np.random.default_rng(1).choice([-1.0, 1.0], (9, 150)))
    chains = Chains(spins, values.T @ spins)
    matrices = []
    for compiled in (False, True):
        monkeypatch.setattr(bit_counts, "pays_off", lambda compiled=compiled: compiled)
        matrices.append(jax.jit(lambda: reconfiguration.gram_blocks(chains, layout))())
    for one, other in zip(*matrices, strict=True):
        np.testing.assert_array_equal(one, other)
