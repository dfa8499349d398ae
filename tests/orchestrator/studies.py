"""Small sweeps and ways to run them, for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.console import Console

from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.actors import InlineExecutor
from orchestrator.batches import batches_of
from orchestrator.costs import CostModel
from orchestrator.loop import Loop
from orchestrator.merging import merge, read_source
from orchestrator.plan import Plan, Profile, Sweep, Tickets, resolve
from orchestrator.progress import Progress
from orchestrator.run_directory import RunDirectory
from orchestrator.schedule import Schedule
from orchestrator.store import Study, read_study
from orchestrator.units import Unit
from tests.orchestrator.fake_engine import FakeEngine

REPOSITORY = Path(__file__).resolve().parents[2]
VARIANTS = ("init_imp", "rand_imp", "init_rand")

# Columns in which a resumed study may differ from an undisturbed one.
TIMES = {"wall_seconds", "finished_at", "code_version", "seconds", "peak_memory_bytes"}
TIMES |= {"device", "device_memory_bytes", "host"}

SWEEP_FILE = """
from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep, Tickets

sweep = Sweep(
    name="small",
    hamiltonians=[TransverseFieldIsing(side=2, field=3.0)],
    networks=[FeedForward(width_per_spin=4)],
    training=Training(samples=8),
    methods=["imp_wr"],
    levels=3,
    pruning_ratio=0.2,
    replicates=2,
    tickets=Tickets(variants=["init_imp", "rand_imp"], levels=[2]),
    profiles={"paper": Profile(pretraining_steps=8, steps_per_level=5, ticket_steps=4)},
)
"""


def small_sweep(**changes) -> Sweep:
    """Two replicates, three levels, two variants of tickets at level 2, on 2 × 2 sites."""
    fields = {
        "name": "small",
        "hamiltonians": [TransverseFieldIsing(side=2, field=3.0)],
        "networks": [FeedForward(width_per_spin=4)],
        "training": Training(samples=8),
        "methods": ["imp_wr"],
        "levels": 3,
        "pruning_ratio": 0.2,
        "replicates": 2,
        "tickets": Tickets(variants=["init_imp", "rand_imp"], levels=[2]),
        "profiles": {"paper": Profile(pretraining_steps=8, steps_per_level=5, ticket_steps=4)},
    }
    return Sweep(**fields | changes)


def small_plan(**changes) -> Plan:
    return resolve(small_sweep(**changes), "paper")


def take(schedule: Schedule) -> tuple[Unit, ...]:
    """What a slot that is new gets, the batch with the longest chain; () where nothing can start."""
    return next((units for _, units in schedule.assign([object()])), ())


def run_ids(plan: Plan, kind: str) -> list[str]:
    return [run_id for run_id, job in plan.jobs.items() if job.kind == kind]


def run_study(
    path: Path,
    plan: Plan,
    fake: FakeEngine | None = None,
    executor=None,
    stop_after: int | None = None,
    batch: int = 1,
    **of_loop,
) -> Loop:
    """Run a study with the fake training, at most so many results long; the loop as it ended.

    Args:
        of_loop: further arguments of the loop.
    """
    # Nothing here is mended by waiting.
    of_loop = {"first_wait_seconds": 1e-3} | of_loop
    directory = RunDirectory(path)
    results = 0

    def stopped() -> bool:
        nonlocal results
        results += 1
        return stop_after is not None and results > stop_after

    with directory.lock(of_loop.get("retry_failed", False)) as holder:
        directory.prepare()
        directory.write_plan(plan)
        study = read_study(path, plan)
        console = Console(quiet=True)
        costs = CostModel.of(plan, study.states)
        batches = batches_of(plan, batch)
        progress = Progress(console)
        loop = Loop(
            plan, directory, study, costs, progress, holder.since, stopped, batches=batches, **of_loop
        )
        loop.run(executor or InlineExecutor(engine=(fake or FakeEngine()).engine()))
    return loop


def merged_into(path: Path, source: Path, plan: Plan | None = None) -> dict:
    """Take a study into a run directory, the small plan's by default; what `merge` says."""
    plan = plan or small_plan()
    directory = RunDirectory(path)
    with directory.lock():
        directory.prepare()
        directory.write_plan(plan)
        return merge(directory, plan, read_source(source, plan))


def statuses(path: Path) -> dict[str, str]:
    return dict(read_study(path).runs.select("run_id", "status").iter_rows())


def assert_same_tables(one: Study, other: Study) -> None:
    """Every table equal in all columns but times, device and code version; attempts aside."""
    frames = [
        ("runs", one.runs, other.runs),
        ("states", one.states, other.states),
        ("steps", one.steps, other.steps),
        ("weights", one.all_weights, other.all_weights),
        ("references", one.references.drop("provenance"), other.references.drop("provenance")),
    ]
    for name, left, right in frames:
        left, right = (_comparable(frame) for frame in (left, right))
        # Of a Hamiltonian whose reference is shipped none is computed.
        assert left.height > 0 or name == "references", f"{name} is empty: nothing is compared"
        assert left.equals(right), f"{name} differ"


def _comparable(frame: pl.DataFrame) -> pl.DataFrame:
    keys = [
        name
        for name in ("run_id", "level", "step", "layer", "hamiltonian_parameters")
        if name in frame.columns
    ]
    return frame.drop([name for name in TIMES if name in frame.columns]).sort(keys)
