"""Studies made up for tests: real runs and ids, networks whose errors follow laws known here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from nqs.config import (
    DenseRun,
    FeedForward,
    Measurement,
    ReferenceJob,
    TicketRun,
    Training,
    TrajectoryRun,
    TransverseFieldIsing,
)
from nqs.identity import NUMERICS_VERSION
from orchestrator.plan import Plan
from orchestrator.run_directory import RunDirectory
from orchestrator.store import JOINED_STATES
from orchestrator.tables import REFERENCES, RUNS, STATES, STEPS, WEIGHTS, Table, run_fields

SWEEP = "made_up"
# Energies per spin are about this; its exact value does not matter to any test.
ENERGY_PER_SPIN = -3.2
# How much larger a ticket's error is than its trajectory's, by variant, and under a mask of another field.
TICKET_FACTORS = {"init_imp": 1.0, "rand_imp": 1.3, "init_rand": 40.0}
TRANSFER_FACTOR = 3.0


@dataclass(frozen=True)
class Network:
    """A trained network: its run, its level and its row of the table `states`."""

    run: DenseRun | TrajectoryRun | TicketRun
    level: int
    row: dict


def power_law(density: float, side: int) -> float:
    """A relative error without any dependence on the side: 0.1 / (n_r / N)²."""
    return 0.1 / density**2


def made_up_networks(
    sides: tuple[int, ...] = (3, 4),
    trajectories: int = 2,
    levels: int = 20,
    ticket_levels: tuple[int, ...] = (4, 12, 18),
    ticket_replicates: int = 2,
    law: Callable[[float, int], float] = power_law,
    trajectory_spread: float = 0.0,
    ticket_spread: float = 0.0,
    measurement_error: float = 0.0,
    sign: int = 1,
    seed: int = 0,
    fields: tuple[float, ...] = (3.04438,),
    method: str = "imp_wr",
) -> list[Network]:
    """Dense runs, trajectories and tickets of every variant, with relative errors sign · law · noise.

    With several fields each mask is also trained at the others, `TRANSFER_FACTOR` worse.

    Args:
        law: relative error at given weights per spin and side.
        trajectory_spread: standard deviation of ln error between trajectories, shared by their tickets.
        ticket_spread: the same between the tickets of one trajectory and level.
        measurement_error: one standard error of every relative error; 0 stands for full summation.
    """
    generator = np.random.default_rng(seed)
    networks = []
    for side, field in itertools.product(sides, fields):
        for replicate in range(trajectories):
            shared = trajectory_spread * generator.standard_normal()
            dense = DenseRun(
                hamiltonian=TransverseFieldIsing(side=side, field=field),
                network=FeedForward(width_per_spin=8),
                training=Training(),
                steps=100,
                replicate=replicate,
            )
            trajectory = TrajectoryRun(
                parent=dense, method=method, pruning_ratio=0.12, steps_per_level=20, levels=levels
            )
            tickets = [
                TicketRun(parent=trajectory, level=level, variant=variant, steps=50, replicate=k)
                for level in ticket_levels
                for variant in TICKET_FACTORS
                for k in range(ticket_replicates)
            ]
            tickets += [
                TicketRun.model_validate(
                    ticket.model_dump() | {"trained_at": TransverseFieldIsing(side=side, field=other)}
                )
                for ticket in tickets
                for other in fields
                if other != field and ticket.variant != "init_rand"
            ]
            wanted = [(dense, 0), *((trajectory, k) for k in range(1, levels + 1))]
            for run, level in [*wanted, *((ticket, ticket.level) for ticket in tickets)]:
                noise = shared + (ticket_spread * generator.standard_normal() if run.kind == "ticket" else 0)
                error = sign * law(run.remaining(level) / side**2, side) * math.exp(noise)
                error *= TICKET_FACTORS.get(getattr(run, "variant", None), 1.0)
                error *= TRANSFER_FACTOR if getattr(run, "trained_at", None) else 1.0
                networks.append(Network(run, level, _state_row(run, level, error, measurement_error)))
    return networks


def _state_row(run, level: int, relative_error: float, measurement_error: float) -> dict:
    """A row of `states` whose energy has the relative error asked for."""
    sites, remaining = run.dense.hamiltonian.sites, run.remaining(level)
    reference = reference_energy(sites)
    density = remaining / sites
    fidelity = None if run.kind != "trajectory" else math.exp(-0.02 * sites / density)
    # Between 5 and 6 weights per spin the made-up magnetisations jump, as the paper's do.
    ordered = 1 / (1 + math.exp(4 * (math.log(density) - math.log(5.5))))
    row = {column.name: None for column in STATES.columns}
    row |= {
        "run_id": run.run_id,
        "level": level,
        "remaining": remaining,
        "parameters": remaining,
        "density": remaining / run.dense.initial_parameters,
        "parameters_per_spin": density,
        "estimator": "sampling" if measurement_error else "full_summation",
        "energy": reference + relative_error * abs(reference),
        "energy_error": measurement_error * abs(reference),
        "variance": abs(relative_error) * sites,
        "magnetization_x": 0.9 - 0.2 * ordered,
        "magnetization_z": 0.0,
        "abs_magnetization_z": 0.4 + 0.4 * ordered,
        "magnetization_z_squared": 0.3,
        "log_fidelity": None if fidelity is None else math.log(fidelity),
        "fidelity": fidelity,
        "steps": run.steps_at(level),
        "wall_seconds": 0.1,
        "samples_measured": 1024,
    }
    errors = ("magnetization_x", "magnetization_z", "abs_magnetization_z", "magnetization_z_squared")
    row |= {f"{name}_error": measurement_error for name in errors}
    return row | {"fidelity_error": None if fidelity is None else measurement_error}


def reference_energy(sites: int) -> float:
    return ENERGY_PER_SPIN * sites


def joined_states(networks: list[Network]) -> pl.DataFrame:
    """What the store's reader makes of these networks: rows of `states` with run fields and errors."""
    rows = []
    for network in networks:
        run, sites = network.run, network.run.dense.hamiltonian.sites
        reference = reference_energy(sites)
        deviation = network.row["energy"] - reference
        error = network.row["energy_error"]
        trajectory = {"dense": None, "trajectory": run.run_id, "ticket": run.parent_run_id}[run.kind]
        fields = {k: v for k, v in run_fields(run, SWEEP).items() if k not in ("run_id", "level")}
        rows.append(
            fields
            | network.row
            | {
                "trajectory_run_id": trajectory,
                "dense_run_id": run.dense.run_id,
                "reference_energy": reference,
                "reference_energy_error": 0.0,
                "reference_method": "ed",
                "relative_error": deviation / abs(reference),
                "relative_error_error": error / abs(reference),
                "error_per_spin": deviation / sites,
                "error_per_spin_error": error / sites,
                "below_reference": deviation < -5 * error,
            }
        )
    schema = pa.schema([(column.name, column.type) for column in JOINED_STATES])
    return pl.from_arrow(pa.Table.from_pylist(rows, schema))


def write_run_directory(
    path: Path, networks: list[Network], profile: str = "tiny", trained: int | None = None
):
    """A run directory with these networks, as a driver would have written it.

    Args:
        trained: how many of the networks are committed; the rest are only planned. None: all.
    """
    directory = RunDirectory(path)
    directory.prepare()
    runs = {network.run.run_id: network.run for network in networks}
    references = {job.run_id: job for job in _reference_jobs(runs.values())}
    directory.write_plan(Plan(SWEEP, profile, Measurement(), references | runs))
    committed = networks[:trained]
    levels = {}
    for network in committed:
        run_id, level = network.run.run_id, network.level
        levels.setdefault(run_id, set()).add(level)
        _write(directory, WEIGHTS, (run_id, level), [_weights_row(network)])
        _write(directory, STEPS, (run_id, level), _steps_rows(network))
    ended = [run for run_id, run in runs.items() if run.last_level in levels.get(run_id, ())]
    # One file a table is what a compaction leaves; readers take it like the parts it was made of.
    _write(directory, REFERENCES, ("all",), [_reference_row(job) for job in references.values()])
    _write(directory, RUNS, ("all",), [_run_row(run, "done") for run in ended])
    _write(directory, STATES, ("all",), [network.row for network in committed])


def write_diverged_run(path: Path, run, reason: str) -> None:
    """Add the row of a run that diverged before its first level was committed."""
    _write(RunDirectory(path), RUNS, (run.run_id, run.first_level), [_run_row(run, "diverged", reason)])


def _write(directory: RunDirectory, table: Table, key: tuple, rows: list[dict]) -> None:
    directory.write_rows(table, directory.part(table, *key), rows, SWEEP)


def _reference_jobs(runs) -> list[ReferenceJob]:
    return list({ReferenceJob(hamiltonian=run.dense.hamiltonian) for run in runs})


def _reference_row(job: ReferenceJob) -> dict:
    hamiltonian = job.hamiltonian
    row = {column.name: None for column in REFERENCES.columns}
    return row | {
        "hamiltonian": hamiltonian.kind,
        "hamiltonian_parameters": hamiltonian.parameters_json,
        "side": hamiltonian.side,
        "boundary": hamiltonian.boundary,
        "field": hamiltonian.field,
        "energy": reference_energy(hamiltonian.sites),
        "energy_error": 0.0,
        "method": "ed",
        "provenance": "made up for tests",
    }


def _run_row(run, outcome: str, reason: str | None = None) -> dict:
    return run_fields(run, SWEEP) | {
        "outcome": outcome,
        "outcome_reason": reason,
        "batch": 1,
        "numerics_version": NUMERICS_VERSION,
        "code_version": "test",
        "device": "cpu",
        "wall_seconds": 1.0,
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def _weights_row(network: Network) -> dict:
    sites = network.run.dense.hamiltonian.sites
    shape = list(network.run.dense.network.layers(sites)["hidden"])
    return {
        "run_id": network.run.run_id,
        "level": network.level,
        "layer": "hidden",
        "shape": shape,
        "indices": list(range(network.row["remaining"])),
        "values": [0.1] * network.row["remaining"],
    }


def _steps_rows(network: Network) -> list[dict]:
    energy = network.row["energy"]
    return [
        {
            "run_id": network.run.run_id,
            "level": network.level,
            "step": step,
            "energy": energy * (1 - 0.1 / step),
            "energy_error": abs(energy) * 1e-3,
            "variance": 1.0,
            "acceptance": 0.5,
            "update_norm": 0.1 / step,
        }
        for step in range(1, 6)
    ]
