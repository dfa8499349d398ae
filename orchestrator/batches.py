"""Which runs are trained together: a function of the plan, of the flag and of the slots' memory.

Never of timings or of what is done already, so a resumed study has the batches that it was started with.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from nqs.config import ReferenceJob, Run
from nqs.replicas import members_that_fit, program_shape
from orchestrator.plan import Plan

# The estimate leaves out what XLA keeps between operations.
MEMORY_FRACTION = 0.8
# More would gain little: the device is full long before, and a lost slot loses all of them.
MOST_MEMBERS = 128

Batch = tuple[str, ...]  # ids of runs that are trained together, in the plan's order
Size = int | Literal["auto"]


def batches_of(plan: Plan, size: Size, memory_bytes: int | None = None) -> list[Batch]:
    """All runs of a plan in batches of equal program shapes at every level, in the plan's order.

    Runs are put together once and not level by level, so that replicates of a trajectory stay together
    from the first level to the last. A reference energy is in no batch.

    Args:
        size: members of a batch; auto: as many as fit into MEMORY_FRACTION of the memory, at most
            MOST_MEMBERS, and 1 where the memory is not known.
        memory_bytes: of a slot's device; None on CPU slots, where cores do more than batches.
    """
    by_shapes: dict[tuple, list[str]] = defaultdict(list)
    for run_id, job in plan.jobs.items():
        if not isinstance(job, ReferenceJob):
            by_shapes[tuple(program_shape(job, level) for level in _levels(job))].append(run_id)
    batches = []
    for run_ids in by_shapes.values():
        members = _members(plan.jobs[run_ids[0]], size, memory_bytes)
        batches += [tuple(run_ids[first : first + members]) for first in range(0, len(run_ids), members)]
    return batches


def _levels(run: Run) -> range:
    return range(run.first_level, run.last_level + 1)


def _members(run: Run, size: Size, memory_bytes: int | None) -> int:
    """Members of the batches that have this run's shapes, at least 1."""
    if size != "auto":
        return size
    if memory_bytes is None:
        return 1
    usable = MEMORY_FRACTION * memory_bytes
    fitting = min(members_that_fit(run, level, usable) for level in _levels(run))
    return max(1, min(MOST_MEMBERS, fitting))
