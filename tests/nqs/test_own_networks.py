"""docs/networks.md by doing it: a user's Flax module, from a file of theirs to a pruned level."""

import re
import sys

import numpy as np
import pytest

from nqs import runs
from nqs.config import DenseRun, FlaxNetwork, Measurement, Training, TrajectoryRun, TransverseFieldIsing
from nqs.networks import network_of, to_netket
from nqs.operators import netket_operator
from nqs.tasks import Task
from orchestrator.actors import InlineExecutor
from tests.orchestrator.studies import REPOSITORY

PAGE = (REPOSITORY / "docs" / "networks.md").read_text(encoding="utf-8")
MEASUREMENT = Measurement(sweeps=6, equilibration_sweeps=4)


def code(language_and_name: str) -> str:
    """The page's block of code that starts with this comment."""
    return re.search(rf"```python\n({re.escape(language_and_name)}.*?)```", PAGE, re.DOTALL).group(1)


@pytest.fixture
def network(tmp_path, monkeypatch):
    """What the page says to write: the module's file, and the network of the sweep."""
    (tmp_path / "two_layers.py").write_text(code("# two_layers.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "two_layers", raising=False)
    names: dict = {}
    exec(code("# in the sweep file"), names)  # noqa: S102 (the page is ours)
    return names["network"]


def test_the_pages_network_trains_is_pruned_and_goes_back_to_netket(network):
    dense = DenseRun(
        hamiltonian=TransverseFieldIsing(side=3, field=3.04438),
        network=network,
        training=Training(samples=64, diagonal_shift=1e-3),
        steps=40,
        replicate=0,
    )
    assert dense.initial_parameters == 9 * 12 + 12 * 6 and dense.other_parameters == 12
    first = runs.advance(Task(dense, 0, MEASUREMENT), 1e9)
    trajectory = TrajectoryRun(parent=dense, method="imp_wr", pruning_ratio=0.5, steps_per_level=10, levels=1)
    inputs = {"rewind": first.weights, "previous": first.weights, "checkpoint": first.checkpoint}
    level = runs.advance(Task(trajectory, 1, MEASUREMENT, **inputs), 1e9)
    assert level.state["remaining"] == 54 + 36 and level.state["parameters"] == 90 + 12
    state = to_netket(dense.hamiltonian, network, network_of(level.weights), 8)
    psi = np.asarray(state.to_array())
    matrix = netket_operator(dense.hamiltonian).to_jax_operator().to_dense()
    assert level.state["energy"] == pytest.approx(float((psi @ matrix @ psi).real), rel=1e-10)


MISTAKES = """
import jax.numpy as jnp
from two_layers import TwoLayers


class Vector(TwoLayers):
    def __call__(self, spins):
        return jnp.stack([super().__call__(spins)] * 2, axis=-1)


class Complex(TwoLayers):
    def __call__(self, spins):
        return super().__call__(spins) * 1j


def vector(sites, width):
    return Vector(width)


def imaginary(sites, width):
    return Complex(width)
"""


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"factory": "two_layers:nothing"}, "factory 'two_layers:nothing' cannot be imported"),
        ({"factory": "no_such_file:make"}, "factory 'no_such_file:make' cannot be imported"),
        ({"arguments": {"widht": 12}}, r"'two_layers:make' raises TypeError: make\(\) got an unexpected"),
        ({"unpruned": {"first/bias": (11,)}}, r"the module has the layers .*; the network's config says"),
        ({"factory": "mistakes:vector"}, r"maps \(3, 9\) to \(3, 2\)"),
        ({"factory": "mistakes:imaginary"}, "has complex128 output; log ψ must be real"),
    ],
)
def test_a_network_that_cannot_be_used_gets_a_sentence_before_anything_is_trained(
    network, change, sentence, tmp_path, monkeypatch
):
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    monkeypatch.delitem(sys.modules, "mistakes", raising=False)
    wrong = FlaxNetwork.model_validate(network.model_dump() | change)
    problem = InlineExecutor(own_code=tmp_path).problem_with([(network, 9), (wrong, 9)])
    assert re.match(f"networks: .*{sentence}", problem)
    assert "\n" not in problem
