"""How long the commands that read a run directory take with 10⁴ runs in it.

    python -m benchmarks.store

Writes a made-up study of 10 400 runs and 30 000 trained networks as a driver would have left it, one file
a table and level, and times whole commands, Python's start included: before `--compact` and after.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from nqs.config import ReferenceJob
from nqs.identity import NUMERICS_VERSION
from nqs.tasks import LiveWeights
from orchestrator import run_directory
from orchestrator.plan import Job, Plan, load_plan
from orchestrator.run_directory import RunDirectory, weights_rows
from orchestrator.tables import REFERENCES, RUNS, STATES, STEPS, WEIGHTS, run_fields
from orchestrator.units import units_of

REPOSITORY = Path(__file__).resolve().parent.parent
SWEEP = """
from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep, Tickets

sweep = Sweep(
    name="large",
    hamiltonians=[TransverseFieldIsing(side=4, field=field / 4) for field in range(1, 11)],
    networks=[FeedForward(width_per_spin=8)],
    training=Training(samples=1024),
    methods=["imp_wr"],
    levels={levels},
    pruning_ratio=0.08,
    replicates={replicates},
    tickets=Tickets(variants=["init_imp", "rand_imp", "init_rand"], levels=range(2, 2 + {tickets})),
    profiles={{"paper": Profile(pretraining_steps=1000, steps_per_level=200)}},
)
"""
LEVELS, TICKETS = 50, 8


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=40, help="of each field, 260 runs; default: 40")
    parser.add_argument("--repeat", type=int, default=3, help="of each command, the fastest counts")
    parser.add_argument("--keep", type=Path, help="write the study here, or take the one that is there")
    arguments = parser.parse_args()
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        measure(folder, arguments.replicates, arguments.repeat)


def measure(folder: Path, replicates: int, repeat: int) -> None:
    """Print the time of each command before and after compaction."""
    complete = sweep_file(folder, "complete", replicates)
    extended = sweep_file(folder, "extended", replicates + max(1, replicates // 10))
    out = folder / "run"
    if not out.exists():
        plan = load_plan(complete, "paper")
        started = time.monotonic()
        write_study(out, plan)
        print(
            f"{len(plan.jobs)} runs and references written in {time.monotonic() - started:.0f} s", flush=True
        )
    commands = {
        "--status": (complete, "--status"),
        "--status --json": (complete, "--status", "--json"),
        "--plan, nothing missing": (complete, "--plan"),
        "--plan, a tenth missing": (extended, "--plan"),
        "resume, nothing missing": (complete, "--executor", "inline"),
    }
    # A start would compact the directory by itself.
    unresumed = {name: command for name, command in commands.items() if "resume" not in name}
    for title, measured, times in (
        ("as written", unresumed, 1),
        ("compaction", {"--compact": (complete, "--compact")}, 1),
        ("after compaction", commands, repeat),
    ):
        files = sum(1 for _ in (out / "tables").rglob("*.parquet"))
        print(f"{title}: {files} files\n  {'command':26} {'wall s':>7} {'CPU s':>7}", flush=True)
        for name, command in measured.items():
            wall, cpu = fastest(command, out, times)
            print(f"  {name:26} {wall:7.2f} {cpu:7.2f}", flush=True)


def sweep_file(folder: Path, name: str, replicates: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(SWEEP.format(replicates=replicates, levels=LEVELS, tickets=TICKETS))
    return path


def fastest(command: tuple, out: Path, repeat: int) -> tuple[float, float]:
    """Wall and CPU seconds of a whole command, each the least of several."""
    walls, cpus = [], []
    for _ in range(repeat):
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "orchestrator", *map(str, command), "--out", str(out)],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        walls.append(time.monotonic() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(walls), min(cpus)


def write_study(path: Path, plan: Plan) -> None:
    """A finished run directory of a plan with made-up numbers, one file for each table and level.

    Not synced: a sync for each of 10⁵ files would take longer than all that is measured.
    """
    directory = RunDirectory(path)
    directory.prepare()
    fsync, run_directory.os.fsync = run_directory.os.fsync, lambda _: None
    try:
        directory.write_plan(plan)
        generator = np.random.default_rng(1)
        for run_id, job in plan.jobs.items():
            for unit in units_of(run_id, job):
                write_unit(directory, plan.sweep, job, unit.level, generator)
    finally:
        run_directory.os.fsync = fsync
    os.sync()


def write_unit(directory: RunDirectory, sweep: str, job: Job, level: int, generator) -> None:
    """What the loop writes when it commits a level."""

    def write(table, rows):
        directory.write_rows(table, directory.part(table, job.run_id, level), rows, sweep)

    if isinstance(job, ReferenceJob):
        write(
            REFERENCES,
            [job.hamiltonian.columns | {"energy": -100.0, "energy_error": 0.0, "method": job.method}],
        )
        return
    key = {"run_id": job.run_id, "level": level}
    shape, live = job.dense.network.layers(job.dense.hamiltonian.sites)["hidden"], job.remaining(level)
    indices = np.sort(generator.choice(np.prod(shape), live, replace=False)).astype(np.int32)
    weights = {"hidden": LiveWeights(shape, indices, generator.standard_normal(live))}
    write(WEIGHTS, weights_rows(job.run_id, level, weights))
    steps = [k for k in range(1, job.steps_at(level) + 1) if k <= 100 or k % 10 == 0]
    energies = -16 - generator.random(len(steps))
    columns = {"energy_error": 0.1, "variance": 1.0, "acceptance": 0.5, "update_norm": 0.01}
    write(STEPS, [key | {"step": k, "energy": e} | columns for k, e in zip(steps, energies, strict=True)])
    if level == job.last_level:
        write(RUNS, [run_fields(job, sweep) | made_up_outcome()])
    state = {"remaining": live, "parameters": live, "density": live / job.dense.initial_parameters}
    state |= {"parameters_per_spin": live / 16, "estimator": "full_summation", "energy": energies[-1]}
    state |= {"energy_error": 0.0, "correlation_z": [0.5, 0.4, 0.3], "steps": steps[-1]}
    write(STATES, [key | state | {"wall_seconds": float(generator.uniform(1, 2))}])


def made_up_outcome() -> dict:
    """The columns of `runs` that a driver fills when a run has ended."""
    return {
        "outcome": "done",
        "batch": 1,
        "numerics_version": NUMERICS_VERSION,
        "code_version": "made up",
        "device": "cpu:cpu",
        "wall_seconds": 1.0,
        "finished_at": datetime.now(UTC),
    }


if __name__ == "__main__":
    main()
