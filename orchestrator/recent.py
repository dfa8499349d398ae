"""What the driver has just had in its hands, so that the next unit's start is not read back from disk."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np

from nqs.tasks import LiveWeights, NetworkWeights
from orchestrator.run_directory import Checkpoint, RunDirectory
from orchestrator.store import read_weights

# Some hundred networks of the paper's largest size with their chains.
MOST_BYTES = 256 * 1024**2


Key, Value = TypeVar("Key"), TypeVar("Value")


class _Recent(Generic[Key, Value]):
    """Values by key; beyond a number of bytes the least recently used of those that are written are forgotten."""

    def __init__(self, most_bytes: int):
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._written: OrderedDict[Key, None] = OrderedDict()

    def keep(self, key: Key, value: Value, size: int) -> None:
        """Keep a value that is nowhere else yet."""
        self.forget(key)
        self._kept[key] = value, size
        self._bytes += size

    def written(self, key: Key) -> None:
        """The value is on disk, too."""
        if key in self._kept:
            self._written[key] = None
        while self._bytes > self._most_bytes and self._written:
            self.forget(next(iter(self._written)))

    def get(self, key: Key) -> Value | None:
        if key not in self._kept:
            return None
        if key in self._written:
            self._written.move_to_end(key)
        return self._kept[key][0]

    def forget(self, key: Key) -> None:
        self._written.pop(key, None)
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[1]


class RecentWeights:
    """Trained networks: those of the last units from memory, the others from the run directory."""

    def __init__(self, directory: RunDirectory, most_bytes: int = MOST_BYTES):
        self._directory, self._recent = directory, _Recent(most_bytes)

    def keep(self, run_id: str, level: int, weights: NetworkWeights) -> None:
        """Remember a network that is not written yet; `written` says when it is."""
        # What came through ray lies in its store, which is small.
        own = {
            layer: LiveWeights(live.shape, np.array(live.indices), np.array(live.values))
            for layer, live in weights.items()
        }
        size = sum(live.indices.nbytes + live.values.nbytes for live in own.values())
        self._recent.keep((run_id, level), own, size)

    def of(self, run_id: str, level: int) -> NetworkWeights:
        """A committed level's network.

        Raises:
            StudyError: it is missing or its file is damaged.
        """
        weights = self._recent.get((run_id, level))
        if weights is None:
            weights = read_weights(self._directory, run_id, level)
            self.keep(run_id, level, weights)
            self.written(run_id, level)
        return weights

    def written(self, run_id: str, level: int) -> None:
        """The network is on disk, and may be forgotten where there is too much."""
        self._recent.written((run_id, level))


class RecentCheckpoints:
    """A running study's checkpoints: which there are, listed once, and the contents of the last ones in memory.

    The driver alone adds and removes them, so that the list stays true.
    """

    def __init__(self, directory: RunDirectory, most_bytes: int = MOST_BYTES):
        self._directory, self._recent = directory, _Recent(most_bytes)
        self._of_run: dict[str, list[Checkpoint]] = defaultdict(list)
        for found in directory.all_checkpoints():
            self._of_run[found.run_id].append(found)

    def of_level(self, run_id: str, level: int) -> list[Checkpoint]:
        """A level's checkpoints, newest first."""
        found = [each for each in self._of_run.get(run_id, ()) if each.level == level]
        return sorted(found, key=lambda each: each.step, reverse=True)

    def add(self, run_id: str, level: int, step: int, contents: bytes) -> Checkpoint:
        """Remember a checkpoint that is not written yet; `written` says when it is."""
        checkpoint = Checkpoint(self._directory.checkpoint(run_id, level, step), run_id, level, step)
        if checkpoint not in self._of_run[run_id]:
            self._of_run[run_id].append(checkpoint)
        self._recent.keep(checkpoint, contents, len(contents))
        return checkpoint

    def contents(self, checkpoint: Checkpoint) -> bytes | None:
        """As `Checkpoint.read`."""
        return self._recent.get(checkpoint) or checkpoint.read()

    def remove_older(self, kept: Checkpoint) -> None:
        """Remove the earlier checkpoints of the same level; what closed the level before stays until this one is committed."""
        self._remove(
            each for each in self._of_run[kept.run_id] if each.level == kept.level and each.step < kept.step
        )

    def remove_before(self, kept: Checkpoint) -> None:
        """Remove a run's earlier checkpoints, of its earlier levels too; later ones there may be already."""
        at = kept.level, kept.step
        self._remove(each for each in self._of_run[kept.run_id] if (each.level, each.step) < at)

    def remove_all(self, run_id: str) -> None:
        """Remove the checkpoints of a run that needs none any more."""
        self._remove(self._of_run.get(run_id, ()))

    def _remove(self, checkpoints: Iterable[Checkpoint]) -> None:
        for checkpoint in list(checkpoints):
            self._of_run[checkpoint.run_id].remove(checkpoint)
            self._recent.forget(checkpoint)
            self._directory.remove_checkpoint(checkpoint)

    def written(self, checkpoint: Checkpoint) -> None:
        """The checkpoint is on disk, and its contents may be forgotten where there is too much."""
        self._recent.written(checkpoint)
