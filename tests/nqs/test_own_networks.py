"""docs/networks.md by doing it: a user's Flax module, from a file of theirs to a pruned level."""

import re
import sys

import numpy as np
import pytest

from nqs import runs
from nqs.config import DenseRun, FlaxNetwork, Measurement, Training, TrajectoryRun, TransverseFieldIsing
from nqs.networks import flax_module, network_of, to_netket
from nqs.operators import netket_operator
from nqs.tasks import Task
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


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"factory": "two_layers:nothing"}, "factory 'two_layers:nothing' cannot be imported"),
        ({"factory": "no_such_file:make"}, "factory 'no_such_file:make' cannot be imported"),
        ({"unpruned": {"first/bias": (11,)}}, r"the module has the layers .*; the network's config says"),
    ],
)
def test_a_module_that_is_not_there_or_has_other_layers_gets_a_sentence(network, change, sentence):
    from nqs.networks import initial_weights

    wrong = FlaxNetwork.model_validate(network.model_dump() | change)
    with pytest.raises(ValueError, match=sentence):
        initial_weights(None, wrong, 9) if "unpruned" not in change else flat(wrong)


def flat(network):
    from nqs.networks import flat_offsets

    assert flax_module(network, 9)
    return flat_offsets(network, 9)
