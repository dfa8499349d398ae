"""docs/pruning_criteria.md by doing it: a user's criterion, from a file of theirs to the tables of a sweep."""

import re
import sys

import numpy as np
import pytest

from nqs import runs
from nqs.config import DenseRun, FeedForward, Measurement, Training, TrajectoryRun, TransverseFieldIsing
from nqs.pruning import Candidates, scores_of
from nqs.tasks import LiveWeights, Task
from orchestrator.__main__ import main
from orchestrator.actors import Worker
from orchestrator.slots import Slot
from orchestrator.store import read_study
from tests.orchestrator.studies import REPOSITORY

PAGE = (REPOSITORY / "docs" / "pruning_criteria.md").read_text(encoding="utf-8")


def code(name: str) -> str:
    """The page's block of code that starts with this comment."""
    return re.search(rf"```python\n({re.escape(name)}.*?)```", PAGE, re.DOTALL).group(1)


@pytest.fixture
def sweep_file(tmp_path, monkeypatch):
    """What the page says to write: the criterion's file beside the sweep's."""
    (tmp_path / "my_criterion.py").write_text(code("# my_criterion.py"))
    (tmp_path / "movement.py").write_text(code("# in the sweep file"))
    # As it was afterwards: the worker adds the folder, and other tests have modules of the same name.
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_criterion", raising=False)
    yield tmp_path / "movement.py"
    sys.modules.pop("my_criterion", None)


def arguments(sweep_file):
    return [str(sweep_file), "--out", str(sweep_file.parent / "run"), "--executor", "inline"]


def live(study, run_id, level):
    """Whole weights (162,) of a network, NaN where pruned."""
    hidden, whole = study.weights(run_id, level)["hidden"], np.full(162, np.nan)
    whole[hidden.indices] = hidden.values
    return whole


def test_the_pages_criterion_prunes_what_moved_least_and_shares_the_dense_run(sweep_file):
    assert main(arguments(sweep_file)) == 0
    study = read_study(sweep_file.parent / "run")
    trajectories = study.runs.filter(kind="trajectory").sort("method")
    assert trajectories["method"].to_list() == ["imp_wr", "my_criterion:movement"]
    assert trajectories["parent_run_id"].n_unique() == 1
    dense, own = live(study, trajectories["parent_run_id"][0], 0), trajectories["run_id"][1]
    before = live(study, own, 1)
    moved = np.abs(before - dense)
    kept = ~np.isnan(live(study, own, 2))
    # 162 weights, 49 fewer after a level, 34 fewer after two.
    assert (np.sum(~np.isnan(before)), kept.sum()) == (113, 79)
    assert moved[kept].min() > np.nanmax(moved[~kept])
    # By magnitude others would have gone, so that the test is one of the criterion.
    assert np.abs(before)[kept].min() < np.nanmax(np.abs(before)[~kept])
    # The first level, where nothing has moved, is that of imp_wr.
    np.testing.assert_array_equal(np.isnan(before), np.isnan(live(study, trajectories["run_id"][0], 1)))


@pytest.mark.parametrize(
    "change, reason",
    [
        (("my_criterion:movement", "my_criterion:nothing"), "has no attribute 'nothing'"),
        (("my_criterion:movement", "no_such_file:movement"), "No module named 'no_such_file'"),
    ],
)
def test_a_criterion_that_is_not_there_is_said_before_anything_is_trained(sweep_file, change, reason, capsys):
    sweep_file.write_text(sweep_file.read_text().replace(*change))
    assert main(arguments(sweep_file)) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{sweep_file}: methods: pruning criterion '{change[1]}' cannot be imported: ")
    assert sentence.endswith(reason)
    assert read_study(sweep_file.parent / "run").states.is_empty()


def trajectory(method, steps=3):
    dense = DenseRun(
        hamiltonian=TransverseFieldIsing(side=3, field=3.04438),
        network=FeedForward(width_per_spin=2),
        training=Training(samples=64),
        steps=130,
        replicate=0,
    )
    return TrajectoryRun(parent=dense, method=method, pruning_ratio=0.3, steps_per_level=steps, levels=4)


def second_level(method):
    """Level 2 of a trajectory with 100 live weights; its values and those of the dense network."""
    generator = np.random.default_rng(3)
    indices = np.sort(generator.choice(162, 100, replace=False)).astype(np.int32)
    trained, dense = generator.normal(size=100), generator.normal(size=162)
    previous = {"hidden": LiveWeights((9, 18), indices, trained)}
    rewind = {"hidden": LiveWeights((9, 18), np.arange(162, dtype=np.int32), dense)}
    measurement = Measurement(sweeps=4, equilibration_sweeps=0)
    return Task(trajectory(method), 2, measurement, rewind=rewind, previous=previous), indices, trained, dense


SEEN = []


def remembering(candidates):
    """The largest positions go, and what was given is kept for the test."""
    SEEN.append(candidates)
    return -candidates.indices


def test_a_criterion_gets_positions_values_count_and_the_runs_generator_and_its_run_rewinds():
    SEEN.clear()
    task, indices, trained, dense = second_level("tests.nqs.test_own_criteria:remembering")
    kept, values = runs._starting_network(task)
    (given,) = SEEN
    np.testing.assert_array_equal(given.indices, indices)
    np.testing.assert_array_equal(given.trained, trained)
    np.testing.assert_array_equal(given.rewound, dense[indices])
    assert given.removed == 30
    np.testing.assert_array_equal(kept, indices[:70])
    np.testing.assert_array_equal(values, dense[indices[:70]])
    # The same numbers again for the same run and level, other ones at another level.
    first = given.generator.random()
    assert first == _first_draw(task) != _first_draw(Task(**vars(task) | {"level": 3}))


def _first_draw(task):
    SEEN.clear()
    runs._starting_network(task)
    return SEEN[0].generator.random()


def test_random_pruning_draws_what_it_drew_before_criteria_had_a_record():
    """The positions themselves were drawn from, with the generator of the run and the level."""
    from nqs.identity import seed_of

    task, indices, _, _ = second_level("irp_wr")
    generator = np.random.default_rng([seed_of(task.run.run_id), 2])
    expected = np.sort(generator.choice(indices, 70, replace=False))
    np.testing.assert_array_equal(runs._starting_network(task)[0], expected)


def short(candidates):
    return candidates.trained[1:]


def with_nan(candidates):
    return np.where(candidates.indices < candidates.indices[2], np.nan, 1.0)


def nothing(candidates):
    return None


def complex_scores(candidates):
    return candidates.trained + 0j


WRONG = {
    "short": r"returned an array of shape \(99,\) and type float64; allowed: real numbers of shape \(100,\)",
    "nothing": r"returned an array of shape \(\) and type object; allowed: real numbers",
    "complex_scores": r"returned an array of shape \(100,\) and type complex128; allowed: real numbers",
    "with_nan": r"returned NaN for 2 of 100 weights",
}


@pytest.mark.parametrize("function", WRONG)
def test_a_wrong_return_fails_the_run_with_a_sentence(function):
    method = f"tests.nqs.test_own_criteria:{function}"
    (failure,) = Worker(Slot(0)).work_batch([second_level(method)[0]], 1.0)
    assert re.match(rf"ValueError: pruning criterion '{method}' {WRONG[function]}", failure.message)


def test_infinite_scores_keep_or_remove_for_certain():
    generator = np.random.default_rng(0)
    given = Candidates(np.arange(3), np.array([1.0, 2.0, 3.0]), np.zeros(3), 1, generator)
    np.testing.assert_array_equal(
        scores_of("tests.nqs.test_own_criteria:unbounded", given), [np.inf, -np.inf, 3.0]
    )


def unbounded(candidates):
    return np.array([np.inf, -np.inf, 3.0])


@pytest.mark.parametrize("wrong", ["imp", "module:", ":function", "a/b:c", "my_criterion.movement", "a:b:c"])
def test_a_name_that_is_no_method_is_refused(wrong):
    with pytest.raises(ValueError, match="'imp_wr', 'imp_ct', 'irp_wr' or your own 'module:function'"):
        trajectory(wrong)


def test_the_name_of_a_criterion_is_identity():
    assert len({trajectory(name).run_id for name in ("imp_wr", "a:b", "a:c")}) == 3
