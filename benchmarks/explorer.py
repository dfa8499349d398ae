"""How long the app's pages take with 10⁴ runs, 3·10⁵ trained networks and 10⁷ recorded steps, and their memory.

    python -m benchmarks.explorer

Writes a made-up study as a compacted run directory, then opens every page in a fresh process: cold is the first
time, from the start of the page's script to its last element, with everything read; warm is a second run of the
same page with a selection changed where it has one. Python's and Streamlit's own start are not in it, nor is the
browser. Memory is the process's largest.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.machine import describe_machine
from benchmarks.store import made_up_outcome
from nqs.config import DenseRun, FeedForward, TicketRun, Training, TransverseFieldIsing
from orchestrator.compaction import ROW_GROUP_BYTES
from orchestrator.plan import Plan, Profile, Sweep, Tickets, resolve
from orchestrator.run_directory import RunDirectory
from orchestrator.tables import REFERENCES, RUNS, STATES, STEPS, WEIGHTS, Table, fields_of_runs
from orchestrator.units import units_of

REPOSITORY = Path(__file__).resolve().parent.parent
SIDES, FIELDS, LEVELS = (4, 5, 6), 10, 95
RUNS_OF_A_PAGE = ("cold", "changed", "again")
STEPS_A_LEVEL = 34  # recorded
# Of each network; all would be many GB, of which no page reads more than one network's.
LIVE_WEIGHTS = 16


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.explorer", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--replicates", type=int, default=112, help="of each side and field, 90 runs; default: 112"
    )
    parser.add_argument("--keep", type=Path, help="write the study here, or take the one that is there")
    parser.add_argument("--pages", nargs="*", help="names of pages; default: all")
    parser.add_argument("--page", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.page:
        print(json.dumps(times_of(arguments.page, arguments.keep)))
        return
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        path = arguments.keep or Path(scratch) / "large-paper"
        if not path.exists():
            started = time.monotonic()
            runs, networks, steps = write_study(path, arguments.replicates)
            seconds = time.monotonic() - started
            print(f"{runs} runs, {networks} networks, {steps} steps written in {seconds:.0f} s", flush=True)
        times = "".join(f"{run:>12} s   CPU" for run in RUNS_OF_A_PAGE)
        print(f"{'page':18}{times}{'MB':>7}{'load':>6}", flush=True)
        for page in arguments.pages or pages():
            command = [
                sys.executable,
                "-m",
                "benchmarks.explorer",
                "--page",
                page,
                "--keep",
                str(path.resolve()),
            ]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{page:20} {done.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            found = json.loads(done.stdout.strip().splitlines()[-1])
            times = "".join(f"{wall:14.2f} {cpu:5.2f}" for wall, cpu in found["seconds"])
            print(
                f"{page:18}{times}{found['megabytes']:7.0f}{found['load']:6.1f}   {found['note']}".rstrip(),
                flush=True,
            )


def pages() -> list[str]:
    """Names of the app's pages."""
    folder = REPOSITORY / "explorer" / "views"
    return [path.stem for path in sorted(folder.glob("*.py")) if "st.title(" in path.read_text()]


def times_of(page: str, path: Path) -> dict:
    """Seconds and CPU seconds of a page's runs in this process, its largest memory, the load, what it says in place of charts."""
    from streamlit.testing.v1 import AppTest

    sys.argv = ["app.py", str(path)]
    test = AppTest.from_file(str(REPOSITORY / "explorer" / "app.py"), default_timeout=600)
    # The app's own start opens the overview, which reads the study.
    test._page_hash = ""
    seconds = [_timed(test.switch_page(f"views/{page}.py").run)]
    confidence = [box for box in test.selectbox if box.key == "confidence"]
    seconds.append(_timed((confidence[0].select_index(1) if confidence else test).run))
    seconds.append(_timed(test.run))
    said = [element.value for element in (*test.exception, *test.error, *test.info)]
    return {
        "seconds": seconds,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load": os.getloadavg()[0],
        "note": said[0].splitlines()[0][:100] if said else "",
    }


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads."""
    started, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started, time.process_time() - cpu


def plan_of(replicates: int) -> Plan:
    """The study's plan: as many runs of each side and field as there are replicates, times 3.3."""
    sweep = Sweep(
        name="large",
        hamiltonians=[
            TransverseFieldIsing(side=side, field=field / 2)
            for side in SIDES
            for field in range(1, FIELDS + 1)
        ],
        networks=[FeedForward(width_per_spin=8)],
        training=Training(samples=1024),
        methods=["imp_wr"],
        levels=LEVELS,
        pruning_ratio=0.05,
        replicates=replicates,
        tickets=Tickets(variants=["init_imp"], levels=[20]),
        profiles={"paper": Profile(pretraining_steps=1000, steps_per_level=200)},
    )
    return resolve(sweep, "paper")


def write_study(path: Path, replicates: int) -> tuple[int, int, int]:
    """A finished and compacted run directory with made-up numbers: its runs, networks and recorded steps."""
    plan = plan_of(replicates)
    runs = {run_id: job for run_id, job in plan.jobs.items() if job.kind != "reference"}
    directory = RunDirectory(path)
    directory.prepare()
    directory.write_plan(plan)
    generator = np.random.default_rng(1)
    ended = made_up_outcome()
    _write(directory, RUNS, [fields | ended for fields in fields_of_runs(runs.values(), plan.sweep)])
    _write(
        directory,
        REFERENCES,
        [
            job.hamiltonian.columns
            | {"energy": -3.2 * job.hamiltonian.sites, "energy_error": 0.0, "method": "ed"}
            for job in plan.jobs.values()
            if job.kind == "reference"
        ],
    )
    units = sorted(unit for run_id, job in runs.items() for unit in units_of(run_id, job))
    run_ids, levels = [unit.run_id for unit in units], np.array([unit.level for unit in units])
    jobs = [runs[run_id] for run_id in run_ids]
    states = _states(jobs, levels, generator)
    _write(directory, STATES, pa.Table.from_pydict({"run_id": run_ids, "level": levels, **states}))
    repeated = np.repeat(np.arange(len(units)), STEPS_A_LEVEL)
    steps = {
        "run_id": pa.array(run_ids).take(pa.array(repeated)),
        "level": levels[repeated],
        "step": np.tile(np.arange(1, STEPS_A_LEVEL + 1), len(units)),
        "energy": states["energy"][repeated] + generator.exponential(0.1, len(repeated)),
        "energy_error": np.full(len(repeated), 0.1),
        "variance": np.full(len(repeated), 1.0),
        "acceptance": np.full(len(repeated), 0.5),
        "update_norm": np.full(len(repeated), 0.01),
    }
    _write(directory, STEPS, pa.Table.from_pydict(steps))
    _write(directory, WEIGHTS, _weights(units, jobs, generator))
    return len(runs), len(units), len(repeated)


def _states(jobs, levels: np.ndarray, generator) -> dict[str, np.ndarray]:
    """Columns of made-up networks: errors that fall as a power of the density, order parameters that collapse with a = 1."""
    sites = np.array([job.dense.hamiltonian.sites for job in jobs])
    initial = np.array([job.dense.initial_parameters for job in jobs])
    remaining = np.array([job.remaining(level) for job, level in zip(jobs, levels, strict=True)])
    density = remaining / sites
    noise = np.exp(0.3 * generator.standard_normal(len(jobs)))
    kind = {DenseRun: 1.0, TicketRun: 1.5}
    factor = np.array([kind.get(type(job), 1.0) for job in jobs])
    relative = 1e-5 + 0.1 * factor * noise / (1 + density**2)
    turn = 1 / (1 + np.exp(-2 * np.sqrt(sites) / SIDES[0] * np.log(density / 4)))
    turn += 0.01 * generator.standard_normal(len(jobs))
    log_fidelity = -np.exp(-(np.log(density / 4) ** 2)) * noise * sites * 1e-3
    columns = {
        "remaining": remaining,
        "parameters": remaining,
        "density": remaining / initial,
        "parameters_per_spin": density,
        "estimator": np.full(len(jobs), "sampling"),
        "energy": -3.2 * sites * (1 - relative),
        "energy_error": 3.2e-6 * sites,
        "variance": relative * sites,
        "magnetization_x": 1 - 0.3 * turn,
        "magnetization_z": 0 * turn,
        "abs_magnetization_z": 0.6 * turn,
        "magnetization_z_squared": 0.4 * turn,
        "log_fidelity": log_fidelity,
        "fidelity": np.exp(log_fidelity),
        "fidelity_error": np.full(len(jobs), 1e-4),
        "energy_drift": generator.standard_normal(len(jobs)) * 1e-5,
        "energy_drift_error": np.full(len(jobs), 1e-5),
        "acceptance": np.full(len(jobs), 0.5),
        "steps": np.full(len(jobs), 200),
        "wall_seconds": generator.uniform(1, 2, len(jobs)),
    }
    errors = ("magnetization_x", "magnetization_z", "abs_magnetization_z", "magnetization_z_squared")
    return columns | {f"{name}_error": np.full(len(jobs), 1e-4) for name in errors}


def _weights(units: list, jobs, generator) -> pa.Table:
    count = len(units)
    shapes = [job.dense.network.layers(job.dense.hamiltonian.sites)["hidden"] for job in jobs]
    ends = np.arange(count + 1) * LIVE_WEIGHTS
    lists = {
        "shape": pa.ListArray.from_arrays(np.arange(count + 1) * 2, np.ravel(shapes)),
        "indices": pa.ListArray.from_arrays(ends, np.tile(np.arange(LIVE_WEIGHTS) * 7, count)),
        "values": pa.ListArray.from_arrays(ends, generator.standard_normal(count * LIVE_WEIGHTS)),
    }
    keys = {"run_id": [unit.run_id for unit in units], "level": [unit.level for unit in units]}
    return pa.table({**keys, "layer": ["hidden"] * count, **lists})


def _write(directory: RunDirectory, table: Table, rows: list[dict] | pa.Table) -> None:
    """Rows as a compacted file, as `orchestrator.compaction` leaves them."""
    if isinstance(rows, list):
        columns = pa.Table.from_pylist(rows, schema=table.schema)
    else:
        given = set(rows.column_names)
        arrays = [
            rows.column(field.name).cast(field.type)
            if field.name in given
            else pa.nulls(len(rows), field.type)
            for field in table.schema
        ]
        columns = pa.Table.from_arrays(arrays, schema=table.schema)
    if not len(columns):
        return
    group = max(1, len(columns) * ROW_GROUP_BYTES // columns.nbytes)
    directory.write_table(directory.new_compacted(table), columns, {"sources": "[]"}, row_group_size=group)


if __name__ == "__main__":
    main()
