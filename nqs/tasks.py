"""What a slot is asked to do, and what comes back: plain data that the driver handles without jax.

A task carries one run on through one level. Everything it needs travels with it (the networks it
starts from, the last checkpoint), so any slot can take any task, and a slot keeps nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from nqs.config import Measurement, ReferenceJob, Run


@dataclass(frozen=True)
class LiveWeights:
    """The live weights of one layer.

    Attributes:
        shape: of the layer; the hidden layer's is (sites, hidden units).
        indices: (live,) int32, ascending positions in the row-major flattened layer.
        values: (live,) float64.
    """

    shape: tuple[int, ...]
    indices: np.ndarray
    values: np.ndarray


NetworkWeights = dict[str, LiveWeights]  # by layer name


@dataclass(frozen=True)
class Task:
    """Carry `run` on through `level`, from `checkpoint` or from the level's start.

    Attributes:
        run: what is trained.
        level: the level to train; a dense run's is 0, a ticket's its own.
        measurement: how the trained network is measured.
        rewind: weights at the end of the dense run; trajectories only.
        previous: trained weights of the level before (level 1: of the dense run); trajectories, and regrown
            tickets: of the level that their branch has just left, which is sparser.
        masked: trained weights of the trajectory at the ticket's level, for their positions; tickets only.
        checkpoint: bytes of the last `Outcome.checkpoint` of this run, also when that closed the level
            before; at level 1 of a trajectory the dense run's last one. None: chains start afresh.
    """

    run: Run
    level: int
    measurement: Measurement
    rewind: NetworkWeights | None = None
    previous: NetworkWeights | None = None
    masked: NetworkWeights | None = None
    checkpoint: bytes | None = None


@dataclass(frozen=True)
class Outcome:
    """Where a run stands after a stretch of work.

    Attributes:
        step: training steps done of this level; `steps` are wanted.
        energy: of the last recorded training step, total, units of J; NaN before the first.
        energy_error: its standard error.
        wall_seconds: time of this stretch; the row of `states` has the whole level's.
        measuring_seconds: what of it measured the trained network.
        checkpoint: opaque bytes from which a later task goes on, bit for bit.
        finished: the level is trained and measured, and the tables below are filled.
        diverged: None, or the sentence that says how the training ended; then no table below is filled.
        state: a row of the table `states`.
        steps_rows: columns of the table `steps` (without run_id and level), equal lengths.
        weights: the trained network.
        device_memory_bytes: that trainings may use on the device; None where it does not say.
    """

    run_id: str
    level: int
    step: int
    steps: int
    energy: float
    energy_error: float
    wall_seconds: float
    checkpoint: bytes
    device: str
    measuring_seconds: float = 0.0
    finished: bool = False
    diverged: str | None = None
    state: dict | None = None
    steps_rows: dict[str, np.ndarray] = field(default_factory=dict)
    weights: NetworkWeights | None = None
    device_memory_bytes: int | None = None


@dataclass(frozen=True)
class ReferenceTask:
    """Carry a reference energy on through `level`, from `checkpoint` or from the level's start.

    Attributes:
        job: what is computed.
        level: of a DMRG series, its bond dimension's place; else 0.
        checkpoint: bytes of the last `ReferenceOutcome.checkpoint` of this job, also when that closed the
            level before. None: the level starts from a product state.
    """

    job: ReferenceJob
    level: int = 0
    checkpoint: bytes | None = None


@dataclass(frozen=True)
class ReferenceOutcome:
    """Where a reference energy stands after a stretch of work.

    Attributes:
        step: sweeps done of this level.
        energy: of the last sweep, total, units of J.
        energy_error: NaN before the row is there.
        checkpoint: opaque bytes from which a later task goes on, bit for bit; None where there is nothing to keep.
        row: of the table `references`; None before the level has converged.
    """

    step: int
    energy: float
    energy_error: float = math.nan
    checkpoint: bytes | None = None
    row: dict | None = None

    @property
    def finished(self) -> bool:
        return self.row is not None
