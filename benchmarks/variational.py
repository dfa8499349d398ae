"""A reference energy against our own networks, which know nothing of DMRG.

    python -m benchmarks.variational --side 6

Trains dense networks of several widths and lengths of training at the critical field and extrapolates their
energies to zero variance, where an eigenstate is. The reference is the table's, or made here: Lanczos to 25 spins,
beyond a DMRG series. Nothing is written. Prints a line a network, then both energies with their errors.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings

from benchmarks.machine import bind_to_cores, describe_machine

FIELD = 3.04438
WIDTHS = (1, 2, 4, 8)
STEPS = (300, 1000, 3000)
BOND_DIMENSION = 192
# Recorded sweeps of the 1024 chains: the best network of 6 × 6 then has an error of 2.5e-4 and lies 3.7e-4 above the
# reference.
SWEEPS = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.variational", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--side", type=int, default=6, help="linear size L of the open lattice")
    parser.add_argument("--field", type=float, default=FIELD, help="transverse field h in units of J")
    parser.add_argument("--widths", type=float, nargs="+", default=WIDTHS, help="hidden units a spin")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="training steps")
    parser.add_argument(
        "--bond-dimension", type=int, default=BOND_DIMENSION, help="the last of a reference made here"
    )
    parser.add_argument("--core", type=int, default=0, help="which of the allowed cores")
    arguments = parser.parse_args()
    bind_to_cores(1, first=arguments.core)
    print(describe_machine(), flush=True)
    run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Train, extrapolate, compare."""
    from nqs.config import TransverseFieldIsing
    from nqs.extrapolation import zero_variance_energy

    hamiltonian, started = (
        TransverseFieldIsing(side=arguments.side, field=arguments.field),
        time.perf_counter(),
    )
    states = trained_states(hamiltonian, arguments.widths, arguments.steps)
    found = zero_variance_energy(
        [state["variance"] for state in states],
        [state["energy"] for state in states],
        [state["energy_error"] for state in states],
    )
    trained = time.perf_counter()
    reference = reference_of(hamiltonian, arguments.bond_dimension)
    seconds = time.perf_counter() - trained
    energy, error = reference["energy"], reference["energy_error"]
    lowest = min(states, key=lambda state: state["energy"])
    combined = math.hypot(found.error_of_fit, found.error_of_choice, error)
    difference = found.energy - energy
    print(
        f"\n{hamiltonian.label}, {len(states)} networks in {(trained - started) / 60:.1f} minutes, "
        f"reference in {seconds:.0f} s\n"
        f"zero variance: {found.energy:.6f} ± {found.error_of_fit:.6f} (fit) ± {found.error_of_choice:.6f} "
        f"(choice of points)\n"
        f"reference:     {energy:.6f} ± {error:.1e}, {reference['provenance']}\n"
        f"difference:    {difference:+.6f}, {abs(difference) / combined:.1f} of the combined error, "
        f"{difference / abs(energy):+.1e} of the energy\n"
        f"lowest network: {lowest['energy']:.6f} ± {lowest['energy_error']:.6f}, "
        f"{lowest['energy'] - energy:+.6f} from the reference"
    )


def trained_states(hamiltonian, widths, steps) -> list[dict]:
    """The rows of `states` of a dense network for each width and number of steps; diverged ones are left out."""
    from nqs.config import DenseRun, FeedForward, Measurement, Training
    from nqs.runs import advance
    from nqs.tasks import Task

    print("| α | steps | energy | error | variance per spin | s |\n|---|---|---|---|---|---|", flush=True)
    states = []
    for width in widths:
        for count in steps:
            dense = DenseRun(
                hamiltonian=hamiltonian,
                network=FeedForward(width_per_spin=width),
                training=Training(),
                steps=count,
                replicate=0,
            )
            outcome = advance(Task(dense, 0, Measurement(sweeps=SWEEPS)), math.inf)
            if outcome.diverged:
                print(f"| {width:g} | {count} | {outcome.diverged} | | | |", flush=True)
                continue
            state = outcome.state
            print(
                f"| {width:g} | {count} | {state['energy']:.6f} | {state['energy_error']:.1e} "
                f"| {state['variance'] / hamiltonian.sites:.3e} | {state['wall_seconds']:.0f} |",
                flush=True,
            )
            states.append(state)
    return states


def reference_of(hamiltonian, bond_dimension: int) -> dict:
    """The table's trusted row of a Hamiltonian; else one made now, exactly where possible."""
    import polars as pl

    from nqs.config import reference_method
    from nqs.exact_diagonalization import reference_energy
    from orchestrator.store import REPOSITORY_REFERENCES, trusted_references

    key = {"hamiltonian": hamiltonian.kind, "hamiltonian_parameters": hamiltonian.parameters_json}
    shipped = trusted_references(pl.read_parquet(REPOSITORY_REFERENCES).filter(**key))
    if not shipped.is_empty():
        return shipped.row(0, named=True)
    if hamiltonian.sites <= reference_method(hamiltonian)[1]:
        return reference_energy(hamiltonian)
    return extrapolated_series(hamiltonian, bond_dimension)


def extrapolated_series(hamiltonian, bond_dimension: int) -> dict:
    """Energy, error and provenance of a DMRG series that ends at this bond dimension."""
    from nqs.config import BOND_DIMENSIONS, ReferenceJob
    from nqs.extrapolation import extrapolated_energy
    from nqs.references import advance_reference
    from nqs.tasks import ReferenceTask

    warnings.filterwarnings("ignore", module="tenpy")  # one a sweep, about an argument for other lattices
    chosen = [bond for bond in BOND_DIMENSIONS if bond <= bond_dimension]
    job = ReferenceJob(hamiltonian=hamiltonian, method="dmrg", levels=len(chosen))
    rows, checkpoint = [], None
    for level in range(job.levels):
        outcome = advance_reference(ReferenceTask(job, level, checkpoint), math.inf)
        checkpoint = outcome.checkpoint
        rows.append(outcome.row)
        print(
            f"DMRG {outcome.row['bond_dimension']}: {outcome.row['energy']:.9f}, discarded weight "
            f"{outcome.row['truncation_error']:.2e}",
            flush=True,
        )
    energy, error = extrapolated_energy(
        [row["truncation_error"] for row in rows], [row["energy"] for row in rows]
    )
    return {
        "energy": energy,
        "energy_error": error,
        "provenance": f"DMRG at {', '.join(map(str, chosen))}, to zero discarded weight",
    }


if __name__ == "__main__":
    main()
