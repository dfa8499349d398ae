"""Which runs are trained together: by program shape, by what becomes ready together, and by memory.

The composition is recorded in the run directory (`RunDirectory.write_batches`), since members round differently in other
company: runs that have started stay together, whatever the next start finds of flags, slots or memory, and
new runs are planned anew. Only the arithmetic of costs has a part in it, no measured time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from nqs.config import ReferenceJob, Run
from nqs.replicas import members_that_fit, program_shape
from orchestrator.costs import arithmetic_seconds
from orchestrator.plan import Plan

if TYPE_CHECKING:
    from orchestrator.run_directory import RunDirectory
    from orchestrator.store import Study

# The estimate leaves out what XLA keeps between operations.
MEMORY_FRACTION = 0.8
# More would gain little: the device is full long before, and a lost slot loses all of them.
MOST_MEMBERS = 128

Batch = tuple[str, ...]  # ids of runs that are trained together, in the plan's order
_KINDS = ("dense", "trajectory", "ticket")
Size = int | Literal["auto"]


def batches_of(
    plan: Plan,
    size: Size,
    memory_bytes: int | None = None,
    slots: int = 1,
    recorded: Iterable[Sequence[str]] = (),
    ended: Container[str] = (),
) -> list[Batch]:
    """All runs of a plan in batches of equal program shapes at every level, in the plan's order.

    Members have the same shapes from the first level to the last and parents that are in one batch, so all of
    them become ready at the same moment, level by level: none waits for another. A reference energy is in no
    batch.

    Args:
        size: members of a batch; auto: as many as fit into MEMORY_FRACTION of the memory, at most
            MOST_MEMBERS and no more than a slot's share of the plan's work; 1 where the memory is not known.
        memory_bytes: of a slot's device; None on CPU slots, where cores do more than batches.
        slots: that share the work.
        recorded: batches that are kept, as far as their members are in the plan.
        ended: runs that are not trained again, so that no other run is trained together with them.
    """
    batches = _kept(plan, recorded)
    batch_of = {run_id: batch for batch in batches for run_id in batch}
    groups: dict[tuple, list[str]] = defaultdict(list)
    share = _seconds_a_slot(plan, slots) if size == "auto" and memory_bytes is not None else math.inf
    # Dense runs, then what starts from them: the batches of parents are known before those of their children.
    for kind in _KINDS:
        groups.clear()
        for run_id, job in plan.jobs.items():
            if job.kind == kind and run_id not in batch_of:
                # Tickets of other branches become ready at other times.
                branch = getattr(job, "turned_at", None)
                groups[batch_of.get(job.parent_run_id), branch, _shapes(job), run_id in ended].append(run_id)
        for run_ids in groups.values():
            members = _members(plan, run_ids[0], size, memory_bytes, share)
            batches += [tuple(run_ids[first : first + members]) for first in range(0, len(run_ids), members)]
        batch_of = {run_id: batch for batch in batches for run_id in batch}
    place = {run_id: place for place, run_id in enumerate(plan.jobs)}
    return sorted(batches, key=lambda batch: (_KINDS.index(plan.jobs[batch[0]].kind), place[batch[0]]))


def halved(batches: Iterable[Batch], batch: Batch) -> list[Batch]:
    """The batches with one of them in two halves, where it did not fit into memory; to be recorded at once.

    Raises:
        ValueError: the batch is one run alone.
    """
    if len(batch) < 2:
        raise ValueError(f"run {batch[0]} is alone in its batch and cannot be halved")
    middle = (len(batch) + 1) // 2
    halves = (batch[:middle], batch[middle:])
    return [part for each in batches for part in (halves if each == batch else (each,))]


def started_batches(directory: RunDirectory, study: Study) -> list[Batch]:
    """Recorded batches of which a member has started: they stay together, also those that are done."""
    started = set(study.states["run_id"]) | directory.checkpointed_runs()
    return [tuple(batch) for batch in directory.read_batches() if not started.isdisjoint(batch)]


def ended_runs(study: Study) -> frozenset[str]:
    """Runs that have nothing left to train: done, of whatever numerics version, or diverged."""
    statuses = study.runs.select("run_id", "status").iter_rows()
    return frozenset(run_id for run_id, status in statuses if status in ("done", "stale", "diverged"))


def kept_sentence(
    kept: Iterable[Batch], planned: Iterable[Batch], ended: frozenset[str] = frozenset()
) -> str | None:
    """What to say where batches that stay, and have a member that has not ended, are not those that would be planned now."""
    differing = {batch for batch in set(kept) - set(planned) if not ended.issuperset(batch)}
    if not differing:
        return None
    runs, most = sum(map(len, differing)), max(map(len, differing))
    return (
        f"{runs} run{' that has started stays' if runs == 1 else 's that have started stay'} in the batches that were "
        f"recorded, of up to {most}; --batch and "
        "the slots' memory decide for the others"
    )


def _kept(plan: Plan, recorded: Iterable[Sequence[str]]) -> list[Batch]:
    """Recorded batches without what the plan no longer has or never trains, apart where an edit made their shapes differ."""
    kept = []
    for batch in recorded:
        by_shapes: dict[tuple, list[str]] = defaultdict(list)
        for run_id in batch:
            job = plan.jobs.get(run_id)
            if job is not None and not isinstance(job, ReferenceJob):
                by_shapes[_shapes(job)].append(run_id)
        kept += map(tuple, by_shapes.values())
    return kept


def _shapes(run: Run) -> tuple:
    return tuple(program_shape(run, level) for level in _levels(run))


def _seconds_a_slot(plan: Plan, slots: int) -> float:
    """A slot's share of the plan's work, by the arithmetic of costs."""
    runs = (job for job in plan.jobs.values() if not isinstance(job, ReferenceJob))
    return sum(_seconds(plan, run) for run in runs) / slots


def _seconds(plan: Plan, run: Run) -> float:
    return sum(arithmetic_seconds(run, level, plan.measurement) for level in _levels(run))


def _levels(run: Run) -> range:
    return range(run.first_level, run.last_level + 1)


def _members(plan: Plan, run_id: str, size: Size, memory_bytes: int | None, share_seconds: float) -> int:
    """Members of the batches that have this run's shapes, at least 1."""
    if size != "auto":
        return size
    if memory_bytes is None:
        return 1
    run = plan.jobs[run_id]
    usable = MEMORY_FRACTION * memory_bytes
    fitting = min(members_that_fit(run, level, usable) for level in _levels(run))
    return max(1, min(MOST_MEMBERS, fitting, int(share_seconds / _seconds(plan, run))))
