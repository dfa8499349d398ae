"""Training histories: exact resumption, what each kind starts from, and divergence as a value."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from nqs import runs
from nqs.ansatz import joined
from nqs.config import (
    Convolutional,
    DenseRun,
    FeedForward,
    Measurement,
    ResidualConvolutional,
    TicketRun,
    Training,
    TrajectoryRun,
    TransverseFieldIsing,
)
from nqs.exact_diagonalization import ground_state
from nqs.networks import network_of, to_netket
from nqs.operators import netket_operator
from nqs.pruning import survivors
from nqs.tasks import LiveWeights, Task

MEASUREMENT = Measurement(sweeps=6, equilibration_sweeps=4)
LONG = 1e9


def dense_run(**training):
    return DenseRun(
        hamiltonian=TransverseFieldIsing(side=3, field=3.04438),
        network=FeedForward(width_per_spin=2),
        training=Training(samples=64, **training),
        steps=130,
        replicate=0,
    )


def trajectory_of(dense, levels=3):
    return TrajectoryRun(parent=dense, method="imp_wr", pruning_ratio=0.3, steps_per_level=120, levels=levels)


@pytest.fixture(scope="module")
def history():
    """A dense run and three levels, undisturbed."""
    dense = dense_run()
    trajectory = trajectory_of(dense)
    outcomes = [runs.advance(Task(dense, 0, MEASUREMENT), LONG)]
    for level in (1, 2, 3):
        last = outcomes[-1]
        task = Task(
            trajectory,
            level,
            MEASUREMENT,
            rewind=outcomes[0].weights,
            previous=last.weights,
            checkpoint=last.checkpoint,
        )
        outcomes.append(runs.advance(task, LONG))
    return trajectory, outcomes


def equal(left, right):
    for name in left.state:
        if name != "wall_seconds":
            assert left.state[name] == right.state[name], name
    for name in left.steps_rows:
        np.testing.assert_array_equal(left.steps_rows[name], right.steps_rows[name])
    for layer in left.weights:
        np.testing.assert_array_equal(left.weights[layer].indices, right.weights[layer].indices)
        np.testing.assert_array_equal(left.weights[layer].values, right.weights[layer].values)


def test_a_level_cut_in_pieces_equals_an_undisturbed_one_bit_for_bit(history):
    trajectory, outcomes = history
    inputs = {"rewind": outcomes[0].weights, "previous": outcomes[1].weights}
    outcome = runs.advance(Task(trajectory, 2, MEASUREMENT, checkpoint=outcomes[1].checkpoint, **inputs), 0)
    assert (outcome.step, outcome.finished) == (100, False)
    while not outcome.finished:
        outcome = runs.advance(Task(trajectory, 2, MEASUREMENT, checkpoint=outcome.checkpoint, **inputs), 0)
    equal(outcome, outcomes[2])
    # The last checkpoint leads to the same rows again: a crash before they were committed costs nothing.
    again = runs.advance(Task(trajectory, 2, MEASUREMENT, checkpoint=outcome.checkpoint, **inputs), LONG)
    equal(again, outcomes[2])


def test_each_level_keeps_the_largest_weights_of_the_level_before(history):
    trajectory, outcomes = history
    for level in (1, 2, 3):
        before, after = outcomes[level - 1].weights["hidden"], outcomes[level].weights["hidden"]
        kept = survivors(before.indices, np.abs(before.values), 0.3)
        np.testing.assert_array_equal(after.indices, kept)
        assert outcomes[level].state["remaining"] == trajectory.remaining(level) == len(kept)


def test_a_level_starts_from_the_rewind_point_and_not_from_the_level_before(history):
    trajectory, outcomes = history
    inputs = {"rewind": outcomes[0].weights, "previous": outcomes[2].weights}
    task = Task(trajectory, 3, MEASUREMENT, checkpoint=outcomes[2].checkpoint, **inputs)
    indices, values = runs._starting_network(task)
    full = np.zeros(162)
    full[outcomes[0].weights["hidden"].indices] = outcomes[0].weights["hidden"].values
    np.testing.assert_array_equal(values, full[indices])
    trained = outcomes[2].weights["hidden"]
    assert not np.any(values == trained.values[np.searchsorted(trained.indices, indices)])


def test_without_rewinding_a_level_goes_on_from_the_trained_weights(history):
    trajectory, outcomes = history
    inputs = {"rewind": outcomes[0].weights, "previous": outcomes[2].weights}
    trained = outcomes[2].weights["hidden"]
    kept = survivors(trained.indices, np.abs(trained.values), 0.3)
    run = trajectory.model_copy(update={"method": "imp_ct"})
    indices, values = runs._starting_network(Task(run, 3, MEASUREMENT, **inputs))
    np.testing.assert_array_equal(indices, kept)
    np.testing.assert_array_equal(values, trained.values[np.searchsorted(trained.indices, kept)])


def test_random_pruning_rewinds_what_a_draw_of_its_own_level_keeps(history):
    trajectory, outcomes = history
    run = trajectory.model_copy(update={"method": "irp_wr"})
    trained, rewound = outcomes[2].weights["hidden"], outcomes[0].weights["hidden"]

    def start(level):
        inputs = {"rewind": outcomes[0].weights, "previous": outcomes[2].weights}
        return runs._starting_network(Task(run, level, MEASUREMENT, **inputs))

    indices, values = start(3)
    assert len(indices) == trajectory.remaining(3) and set(indices) < set(trained.indices)
    assert set(indices) != set(survivors(trained.indices, np.abs(trained.values), 0.3))
    np.testing.assert_array_equal(values, rewound.values[np.searchsorted(rewound.indices, indices)])
    np.testing.assert_array_equal(start(3)[0], indices)
    assert set(start(2)[0]) != set(indices)


NETWORKS = {
    "cnn": Convolutional(kernels=2),
    "rescnn": ResidualConvolutional(blocks=1, filters=2),
}


@pytest.fixture(scope="module", params=NETWORKS)
def other_history(request):
    """A dense run of another network and one level."""
    dense = dense_run().model_copy(update={"network": NETWORKS[request.param]})
    trajectory = trajectory_of(dense, levels=2)
    first = runs.advance(Task(dense, 0, MEASUREMENT), LONG)
    inputs = {"rewind": first.weights, "previous": first.weights, "checkpoint": first.checkpoint}
    return trajectory, first, Task(trajectory, 1, MEASUREMENT, **inputs)


def test_other_networks_are_pruned_measured_and_resumed_bit_for_bit(other_history):
    trajectory, first, task = other_history
    undisturbed = runs.advance(task, LONG)
    pieces = runs.advance(task, 0)
    assert (pieces.step, pieces.finished) == (100, False)
    equal(runs.advance(replace(task, checkpoint=pieces.checkpoint), LONG), undisturbed)
    assert undisturbed.state["remaining"] == trajectory.remaining(1)
    assert undisturbed.state["parameters"] == trajectory.remaining(1) + trajectory.dense.other_parameters
    # The smallest of the prunable weights are gone, those of all layers together.
    layers = trajectory.dense.network.layers(9)
    magnitudes = np.abs(np.concatenate([first.weights[name].values for name in layers]))
    kept = [np.isin(first.weights[name].indices, undisturbed.weights[name].indices) for name in layers]
    assert magnitudes[~np.concatenate(kept)].max() <= magnitudes[np.concatenate(kept)].min()
    for name in trajectory.dense.network.other_layers(9):
        assert len(undisturbed.weights[name].indices) == len(first.weights[name].indices) > 0
    assert 0 < undisturbed.state["fidelity"] <= 1 + 1e-12


def test_energies_of_other_networks_are_those_of_their_flax_modules(other_history):
    """NetKet's full sum of the module over all 512 configurations."""
    trajectory, first, _ = other_history
    dense = trajectory.dense
    state = to_netket(dense.hamiltonian, dense.network, network_of(first.weights), 8)
    psi = np.asarray(state.to_array())
    h_psi = np.asarray(netket_operator(dense.hamiltonian).to_jax_operator().to_dense()).real @ psi
    energy = psi @ h_psi
    assert first.state["energy"] == pytest.approx(energy, rel=1e-10)
    assert first.state["variance"] == pytest.approx(h_psi @ h_psi - energy**2, rel=1e-8)


def test_tickets_start_from_what_their_variant_says(history):
    trajectory, outcomes = history
    masked = outcomes[2].weights

    def start(variant, replicate):
        ticket = TicketRun(parent=trajectory, level=2, variant=variant, steps=5, replicate=replicate)
        return runs._starting_network(Task(ticket, 2, MEASUREMENT, masked=masked))

    initial = runs._starting_network(Task(trajectory.dense, 0, MEASUREMENT))[1]
    mask = masked["hidden"].indices
    for replicate in (0, 1):
        indices, values = start("init_imp", replicate)
        np.testing.assert_array_equal(indices, mask)
        np.testing.assert_array_equal(values, initial[mask])
    first, second = start("rand_imp", 0), start("rand_imp", 1)
    np.testing.assert_array_equal(first[0], mask)
    assert not np.any(first[1] == second[1]) and not np.any(first[1] == initial[mask])
    assert first[1].std() == pytest.approx(0.01, rel=0.4)
    first, second = start("init_rand", 0), start("init_rand", 1)
    assert len(first[0]) == len(second[0]) == len(mask)
    assert set(first[0]) != set(second[0]) and set(first[0]) != set(mask)
    np.testing.assert_array_equal(first[1], initial[first[0]])


def test_a_regrown_ticket_goes_on_from_the_sparser_weights_and_adds_initial_ones(history):
    trajectory, outcomes = history
    ticket = TicketRun(parent=trajectory, level=1, variant="regrown", steps=120, replicate=0, turned_at=3)
    masked, sparser = outcomes[1].weights, outcomes[2].weights["hidden"]
    task = Task(ticket, 1, MEASUREMENT, masked=masked, previous=outcomes[2].weights)
    indices, values = runs._starting_network(task)
    np.testing.assert_array_equal(indices, masked["hidden"].indices)
    initial = runs._starting_network(Task(trajectory.dense, 0, MEASUREMENT))[1]
    expected = initial.copy()
    expected[sparser.indices] = sparser.values
    np.testing.assert_array_equal(values, expected[indices])
    assert len(sparser.indices) < len(indices)
    outcome = runs.advance(task, LONG)
    np.testing.assert_array_equal(outcome.weights["hidden"].indices, indices)
    # Every weight is trained, those that were added too: nowhere is a gradient zero for good.
    assert np.all(outcome.weights["hidden"].values != values)
    assert outcome.state["fidelity"] is None


def test_a_unit_that_had_lost_all_its_weights_is_trained_again(history):
    """At zero it would have θ = 0 and, with slope 0 there, no gradient for good."""
    trajectory, outcomes = history
    sites, hidden = outcomes[2].weights["hidden"].shape
    before = outcomes[2].weights["hidden"]
    unit = int(before.indices[0] % hidden)
    alive = before.indices % hidden != unit
    without = {"hidden": LiveWeights((sites, hidden), before.indices[alive], before.values[alive])}
    ticket = TicketRun(parent=trajectory, level=1, variant="regrown", steps=30, replicate=0, turned_at=2)
    task = Task(ticket, 1, MEASUREMENT, masked=outcomes[1].weights, previous=without)
    indices, values = runs._starting_network(task)
    regrown = indices % hidden == unit
    assert regrown.sum() >= 1
    trained = runs.advance(task, LONG).weights["hidden"].values
    assert np.all(trained[regrown] != values[regrown])


def test_a_transferred_mask_brings_its_initial_weights_and_is_trained_at_the_other_field(history):
    trajectory, outcomes = history
    masked = outcomes[2].weights
    other = TransverseFieldIsing(side=3, field=1.5)

    def ticket(variant, trained_at=other):
        return TicketRun(
            parent=trajectory, level=2, variant=variant, steps=150, replicate=0, trained_at=trained_at
        )

    own = runs._starting_network(Task(ticket("init_imp", None), 2, MEASUREMENT, masked=masked))
    moved = runs._starting_network(Task(ticket("init_imp"), 2, MEASUREMENT, masked=masked))
    np.testing.assert_array_equal(own[0], moved[0])
    np.testing.assert_array_equal(own[1], moved[1])
    outcome = runs.advance(Task(ticket("rand_imp"), 2, MEASUREMENT, masked=masked), LONG)
    np.testing.assert_array_equal(outcome.weights["hidden"].indices, masked["hidden"].indices)
    energy, _, _ = ground_state(other)
    assert outcome.state["energy"] == pytest.approx(energy, rel=0.05)
    assert outcome.state["ground_state_weight"] > 0.8


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (
            {"trained_at": TransverseFieldIsing(side=3, field=3.04438)},
            "where the mask was found; leave it out",
        ),
        ({"trained_at": TransverseFieldIsing(side=4, field=1)}, "a mask of 9 sites trained at 4×4"),
        (
            {"trained_at": TransverseFieldIsing(side=3, field=1), "variant": "init_rand"},
            "draws a mask of its own",
        ),
    ],
)
def test_what_cannot_be_transferred_is_refused(changes, sentence):
    fields = {
        "parent": trajectory_of(dense_run()),
        "level": 2,
        "variant": "init_imp",
        "steps": 5,
        "replicate": 0,
    }
    with pytest.raises(ValueError, match=sentence):
        TicketRun(**fields | changes)


def test_replicates_of_a_ticket_differ_in_their_chains(history):
    trajectory, outcomes = history

    def energies(replicate):
        ticket = TicketRun(parent=trajectory, level=1, variant="init_imp", steps=3, replicate=replicate)
        outcome = runs.advance(Task(ticket, 1, MEASUREMENT, masked=outcomes[1].weights), LONG)
        assert outcome.state["fidelity"] is None
        return outcome.steps_rows["energy"]

    assert not np.any(energies(0) == energies(1))


def test_training_lowers_the_energy_towards_the_exact_one(history):
    _, outcomes = history
    # Ground state by exact diagonalisation, tests/nqs/test_exact_diagonalization.py.
    exact = -28.455559567670
    assert 0 < (outcomes[0].state["energy"] - exact) / -exact < 2e-3
    # Untrained: −h N = −27.40 ± 0.4, since all amplitudes are nearly equal.
    assert outcomes[0].steps_rows["energy"][0] > exact + 0.3


def test_a_training_that_blows_up_is_an_outcome_with_its_sentence():
    outcome = runs.advance(Task(dense_run(learning_rate=1e300), 0, MEASUREMENT), LONG)
    assert not outcome.finished and outcome.state is None
    assert "at step" in outcome.diverged and "level 0" in outcome.diverged
    assert outcome.step < 130


def test_training_in_float32_is_refused():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="JAX_ENABLE_X64"):
        runs.advance(Task(dense_run(), 0, MEASUREMENT), LONG)


def test_the_record_thins_by_the_stated_rule(history):
    _, outcomes = history
    expected = [*range(1, 101), 110, 120, 130]
    np.testing.assert_array_equal(outcomes[0].steps_rows["step"], expected)


def member_run(number, steps=12, learning_rate=(8e-3, 4e-3, 6e-3)):
    """Dense runs of one program shape: field, rate, shift and replicate are each their own."""
    return DenseRun(
        hamiltonian=TransverseFieldIsing(side=3, field=(3.04438, 2.0, 4.0)[number]),
        network=FeedForward(width_per_spin=2),
        training=Training(
            samples=64, learning_rate=learning_rate[number], diagonal_shift=(1e-4, 1e-3, 1e-2)[number]
        ),
        steps=steps,
        replicate=number,
    )


def dense_tasks(steps=12, **settings):
    return [Task(member_run(number, steps, **settings), 0, MEASUREMENT) for number in range(3)]


def ticket_tasks():
    """Tickets of 55 weights, solved in parameters: two of one mask beside a random one."""
    dense = DenseRun(
        hamiltonian=TransverseFieldIsing(side=3, field=3.04438),
        network=FeedForward(width_per_spin=2),
        training=Training(samples=101),
        steps=130,
        replicate=0,
    )
    generator = np.random.default_rng(0)
    mask = np.sort(generator.choice(162, 55, replace=False)).astype(np.int32)
    masked = {"hidden": LiveWeights((9, 18), mask, generator.normal(size=55))}
    return [
        Task(
            TicketRun(parent=trajectory_of(dense), level=3, variant=variant, steps=12, replicate=replicate),
            3,
            MEASUREMENT,
            masked=masked,
        )
        for variant, replicate in (("init_imp", 0), ("init_rand", 0), ("init_imp", 1))
    ]


def tasks_of(network):
    """Three dense runs of another network than the feed-forward one."""
    return [
        replace(task, run=task.run.model_copy(update={"network": network})) for task in dense_tasks(steps=6)
    ]


@pytest.mark.parametrize(
    "tasks",
    [
        dense_tasks,
        ticket_tasks,
        partial(tasks_of, Convolutional(kernels=2)),
        partial(tasks_of, ResidualConvolutional(blocks=1, filters=2)),
    ],
    ids=["dense", "tickets", "convolution", "any network"],
)
def test_runs_trained_as_one_batch_go_as_they_go_alone(tasks):
    tasks = tasks()
    together = runs.advance_batch(tasks, LONG)
    for task, outcome in zip(tasks, together, strict=True):
        alone = runs.advance(task, LONG)
        assert outcome.run_id == alone.run_id == task.run.run_id
        assert outcome.finished and outcome.diverged is None
        indices, together_values = joined(task.run.dense, outcome.weights)
        alone_indices, values = joined(task.run.dense, alone.weights)
        np.testing.assert_array_equal(indices, alone_indices)
        # float32 rounding of energies, 1e-7, over a few steps, times what the small shift makes of it.
        for name in ("energy", "update_norm"):
            np.testing.assert_allclose(outcome.steps_rows[name], alone.steps_rows[name], rtol=1e-4)
        start = runs._starting_network(task)[1]
        moved, apart = values - start, together_values - values
        assert np.linalg.norm(apart) <= 1e-3 * np.linalg.norm(moved)
        assert outcome.state["energy"] == pytest.approx(alone.state["energy"], rel=1e-6)
    energies = {outcome.steps_rows["energy"][-1] for outcome in together}
    assert len(energies) == 3


def test_a_batch_cut_in_pieces_equals_an_undisturbed_one_bit_for_bit():
    tasks = dense_tasks(steps=130)
    whole = runs.advance_batch(tasks, LONG)
    pieces = runs.advance_batch(tasks, 0)
    assert [outcome.step for outcome in pieces] == [100] * 3
    rest = [
        Task(task.run, 0, MEASUREMENT, checkpoint=piece.checkpoint)
        for task, piece in zip(tasks, pieces, strict=True)
    ]
    for resumed, undisturbed in zip(runs.advance_batch(rest, LONG), whole, strict=True):
        equal(resumed, undisturbed)


def test_a_run_that_diverges_says_so_and_changes_no_bit_of_its_companions():
    """130 steps: the others also go through a stretch that it takes no part in."""
    usual = runs.advance_batch(dense_tasks(steps=130), LONG)
    tasks = dense_tasks(steps=130, learning_rate=(8e-3, 1e300, 6e-3))
    outcomes = runs.advance_batch(tasks, LONG)
    assert not outcomes[1].finished and outcomes[1].state is None
    assert "at step" in outcomes[1].diverged and "of level 0" in outcomes[1].diverged
    assert outcomes[1].step <= 3
    for number in (0, 2):
        assert outcomes[number].finished and outcomes[number].diverged is None
        equal(outcomes[number], usual[number])


def test_runs_that_are_at_different_steps_each_end_at_their_last():
    """One is resumed a hundred steps further on than its companions."""
    tasks = dense_tasks(steps=105)
    ahead = runs.advance(tasks[1], 0)
    assert ahead.step == 100
    tasks[1] = Task(tasks[1].run, 0, MEASUREMENT, checkpoint=ahead.checkpoint)
    outcomes = runs.advance_batch(tasks, LONG)
    alone = runs.advance(tasks[1], LONG)
    for outcome in outcomes:
        assert outcome.finished and outcome.step == 105
        np.testing.assert_array_equal(outcome.steps_rows["step"], [*range(1, 101), 105])
    for name in ("energy", "update_norm"):
        np.testing.assert_array_equal(
            outcomes[1].steps_rows[name][:100], alone.steps_rows[name][:100], err_msg=name
        )
        # Five steps of float32 rounding apart, as above.
        np.testing.assert_allclose(outcomes[1].steps_rows[name], alone.steps_rows[name], rtol=1e-4)
    # And it made these five alone, though its companions made a hundred in the same call.
    final, expected = (outcome.weights["hidden"].values for outcome in (outcomes[1], alone))
    moved = np.linalg.norm(expected - runs._load(ahead.checkpoint).weights)
    assert np.linalg.norm(final - expected) <= 1e-2 * moved
    # Its companions started at step 1, as they do without it.
    for number in (0, 2):
        first = runs.advance(dense_tasks(steps=105)[number], 0).checkpoint
        expected = runs._load(first).records["energy"][:5]
        np.testing.assert_allclose(outcomes[number].steps_rows["energy"][:5], expected, rtol=1e-4)
