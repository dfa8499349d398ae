"""Which runs can be one program, and how much memory a replica takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs.config import DenseRun, FeedForward, TicketRun, Training, TrajectoryRun, TransverseFieldIsing
from nqs.devices import memory_bytes
from nqs.hamiltonians import flip_form
from nqs.layouts import choose_layout
from nqs.moves import single_flips
from nqs.replicas import estimated_bytes, members_that_fit, program_shape
from nqs.training import Problem, TrainingState, train


def dense_run(hamiltonian=None, network=None, training=None, steps=10, replicate=0) -> DenseRun:
    return DenseRun(
        hamiltonian=hamiltonian or TransverseFieldIsing(side=4, field=3.0),
        network=network or FeedForward(),
        training=training or Training(),
        steps=steps,
        replicate=replicate,
    )


def trajectory_run(dense=None, ratio=0.5, steps=10, levels=6) -> TrajectoryRun:
    return TrajectoryRun(
        parent=dense or dense_run(),
        method="imp_wr",
        pruning_ratio=ratio,
        steps_per_level=steps,
        levels=levels,
    )


def ticket_run(variant="init_imp", level=2, steps=10, parent=None) -> TicketRun:
    return TicketRun(
        parent=parent or trajectory_run(), level=level, variant=variant, steps=steps, replicate=0
    )


SAME = {
    "another replicate": dense_run(replicate=1),
    "another field": dense_run(TransverseFieldIsing(side=4, field=0.5)),
    "another coupling": dense_run(TransverseFieldIsing(side=4, field=3.0, coupling=2.0)),
    "another learning rate": dense_run(training=Training(learning_rate=0.1)),
    "another shift": dense_run(training=Training(diagonal_shift=0.1)),
}
OTHER = {
    "side": dense_run(TransverseFieldIsing(side=3, field=3.0)),
    "boundary": dense_run(TransverseFieldIsing(side=4, field=3.0, boundary="periodic")),
    "network": dense_run(network=FeedForward(width_per_spin=4)),
    "samples": dense_run(training=Training(samples=512)),
    "steps": dense_run(steps=11),
}


@pytest.mark.parametrize("what", SAME)
def test_what_is_data_leaves_the_shape(what):
    assert program_shape(SAME[what], 0) == program_shape(dense_run(), 0)


@pytest.mark.parametrize("what", OTHER)
def test_what_decides_arrays_or_steps_changes_the_shape(what):
    assert program_shape(OTHER[what], 0) != program_shape(dense_run(), 0)


def test_runs_of_another_kind_are_another_program_though_all_else_is_equal():
    trajectory, ticket = trajectory_run(), ticket_run()
    assert program_shape(trajectory, 2)[1:] == program_shape(ticket, 2)[1:]
    assert program_shape(trajectory, 2) != program_shape(ticket, 2)


def test_a_users_criterion_is_a_batch_of_its_own_and_the_other_methods_are_one():
    """A bug in it is the failure of every member of its batch."""
    methods = ("imp_wr", "imp_ct", "irp_wr", "mine:first", "mine:second")
    runs = [trajectory_run().model_copy(update={"method": method}) for method in methods]
    shapes = [program_shape(run, 2) for run in runs]
    assert len(set(shapes[:3])) == 1 and len(set(shapes)) == 3


def test_variants_of_a_ticket_are_one_program_and_their_levels_are_not():
    shapes = {program_shape(ticket_run(variant), 2) for variant in ("init_imp", "rand_imp", "init_rand")}
    assert len(shapes) == 1
    assert program_shape(ticket_run(level=3), 3) not in shapes


def test_trajectories_agree_only_at_levels_that_leave_as_many_weights():
    one, other = trajectory_run(ratio=0.5), trajectory_run(ratio=0.25)
    assert program_shape(one, 1) != program_shape(other, 1)
    # 2048 · 0.5 = 1024; an equal count is an equal program, however it came about.
    assert program_shape(one, 1) == program_shape(trajectory_run(ratio=0.5, levels=3), 1)


def test_memory_where_the_solve_is_in_samples():
    """4 × 4, α = 8, 1024 samples: 2048 weights, 128 hidden units, all live."""
    weights, theta, matrix, bits = 49_152, 1_048_576, 20_971_520, 262_144
    assert estimated_bytes(dense_run(), 0) == weights + theta + matrix + bits == 22_331_392


def test_memory_where_the_solve_is_in_parameters():
    """The same at level 5: 64 live weights."""
    run = trajectory_run()
    assert run.remaining(5) == 64
    weights, theta, matrix, jacobian = 1_536, 524_288, 81_920, 524_288
    assert estimated_bytes(run, 5) == weights + theta + matrix + jacobian == 1_132_032


@pytest.mark.parametrize("level", [0, 3])
def test_the_estimate_is_near_what_xla_asks_for(level):
    """Temporary memory and arguments of the compiled program: between 0.7 and 1.3 of the estimate."""
    run = trajectory_run() if level else dense_run()
    live = run.remaining(level)
    network, sites = FeedForward(), 16
    shape = network.layers(sites)["hidden"]
    layout = choose_layout(shape, np.arange(live), 1024, compiled=True)
    weights = np.zeros(shape if level == 0 else layout.weight_sites.shape)
    problem = Problem(flip_form(TransverseFieldIsing(side=4, field=3.0)), single_flips(16), 8e-3, 1e-4)
    state = TrainingState(weights, np.ones((sites, 1024), np.float32), np.int32(0))
    arguments = (jax.random.key(0), problem, layout, state, np.int32(1), np.int32(1))
    arguments = jax.tree.map(jnp.asarray, arguments)
    analysis = train.lower(*arguments).compile().memory_analysis()
    asked = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes
    assert 0.7 < asked / estimated_bytes(run, level) < 1.3


def test_with_many_samples_the_solve_stays_in_samples_beyond_the_largest_bucket():
    run = trajectory_run(dense_run(network=FeedForward(width_per_spin=16), training=Training(samples=8192)))
    assert (run.remaining(1), run.remaining(2), run.remaining(3)) == (2048, 1024, 512)
    assert estimated_bytes(run, 1) > 20 * 8192**2 > estimated_bytes(run, 2)


def test_as_many_members_fit_as_the_memory_holds():
    each = estimated_bytes(dense_run(), 0)
    assert members_that_fit(dense_run(), 0, 3 * each) == 3
    assert members_that_fit(dense_run(), 0, 3 * each - 1) == 2
    assert members_that_fit(dense_run(), 0, each - 1) == 0


def test_a_cpu_does_not_say_how_much_memory_it_has():
    assert memory_bytes() is None
