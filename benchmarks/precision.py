"""What mixed precision costs in accuracy: final energies of mixed and of pure float64 training.

    python -m benchmarks.precision [--side 4] [--seeds 10] [--steps 2000]

The paper's dense network and settings at the critical field, trained from the same weights and chains in
both ways. Random numbers are drawn in the training's own precision, so the two are independent trainings
and what is compared are means over seeds. Energies are full sums, their errors relative to exact
diagonalisation.
"""

from __future__ import annotations

import argparse

from benchmarks.machine import bind_to_cores, describe_machine

SAMPLES, FIELD = 1024, 3.04438
EQUILIBRATION_SWEEPS = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precision", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--side", type=int, default=4, help="of a lattice that can be summed exactly")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--core", type=int, default=0, help="which of the allowed cores")
    arguments = parser.parse_args()
    bind_to_cores(1, first=arguments.core)
    print(describe_machine(), flush=True)
    # Measured on the way as well: whether one of the two only falls behind later.
    marks = [arguments.steps // 4, arguments.steps // 2, arguments.steps]
    _print_table(marks, _relative_errors(arguments.side, arguments.seeds, marks))


def _relative_errors(side: int, seeds: int, marks: list[int]):
    """Relative errors (seeds, marks), of mixed and of pure training."""
    import jax.numpy as jnp
    import numpy as np

    from nqs.config import TransverseFieldIsing
    from nqs.exact_diagonalization import ground_state_energy
    from nqs.hamiltonians import flip_form

    hamiltonian = TransverseFieldIsing(side=side, field=FIELD)
    form = flip_form(hamiltonian)
    exact, _ = ground_state_energy(form, hamiltonian.sites)
    errors = ([], [])
    for seed in range(seeds):
        for which, dtype in enumerate((jnp.float32, jnp.float64)):
            energies = np.array(_train(hamiltonian, form, seed, marks, dtype))
            errors[which].append((energies - exact) / abs(exact))
        last = ", ".join(
            f"{kind} {errors[which][-1][-1]:.2e}" for which, kind in enumerate(("mixed", "float64"))
        )
        print(f"seed {seed}: relative errors {last}", flush=True)
    return [np.array(rows) for rows in errors]


def _train(hamiltonian, form, seed: int, marks: list[int], dtype) -> list[float]:
    """Exact energies of the network after so many steps each."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from nqs import full_summation
    from nqs.config import FeedForward, Training
    from nqs.layouts import row_layout
    from nqs.moves import single_flips
    from nqs.networks import initial_weights
    from nqs.sampling import equilibrate, random_spins
    from nqs.training import RECORD_CAPACITY, Problem, TrainingState, train

    network, training, sites = FeedForward(), Training(samples=SAMPLES), hamiltonian.sites
    for_weights, for_spins, for_chains, for_steps = jax.random.split(jax.random.key(seed), 4)
    weights = initial_weights(for_weights, network, sites)["hidden"]
    layout = jax.tree.map(jnp.asarray, row_layout(weights.shape, np.arange(weights.size), compiled=True))
    moves = single_flips(sites)
    problem = Problem(form, moves, jnp.float64(training.learning_rate), jnp.float64(training.diagonal_shift))
    problem = jax.tree.map(jnp.asarray, problem)
    spins = random_spins(for_spins, sites, SAMPLES)
    spins = equilibrate(for_chains, moves, spins, weights, layout, EQUILIBRATION_SWEEPS)
    state, step, energies = TrainingState(weights, spins, jnp.int32(0)), 0, []
    for mark in marks:
        while step < mark:
            count = min(RECORD_CAPACITY, mark - step)
            state, _ = train(for_steps, problem, layout, state, jnp.int32(step + 1), jnp.int32(count), dtype)
            step += count
        psi = full_summation.wave_function(np.asarray(state.weights))
        energies.append(float(psi @ full_summation.apply(form, psi)))
    return energies


def _print_table(marks: list[int], errors) -> None:
    import numpy as np

    count = len(errors[0])
    print(
        f"\n| steps | mixed: relative error of the energy, mean ± s.e. of {count} seeds | float64 "
        "| difference in standard errors |\n|---|---|---|---|"
    )
    for place, mark in enumerate(marks):
        (mixed, pure), (mixed_error, pure_error) = zip(
            *((own[:, place].mean(), own[:, place].std(ddof=1) / np.sqrt(count)) for own in errors),
            strict=True,
        )
        apart = (mixed - pure) / np.hypot(mixed_error, pure_error)
        print(f"| {mark} | {mixed:.3e} ± {mixed_error:.1e} | {pure:.3e} ± {pure_error:.1e} | {apart:+.1f} |")


if __name__ == "__main__":
    main()
