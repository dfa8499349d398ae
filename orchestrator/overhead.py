"""How the time of a run was spent: slots without work, the driver's own time by kind, and measuring."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from nqs.tasks import Outcome
from orchestrator.slots import Slot


class Overhead:
    """Times of one run of the loop, in seconds.

    Attributes:
        wall_seconds: from the first task's preparation to the end.
        slot_seconds: the same summed over slots.
        idle_seconds: in which a slot had nothing to do as far as the driver knew, summed over slots.
        training_seconds: in which slots trained or measured, by their own clocks; references are not in it.
        measuring_seconds: what of it measured trained networks.
        driver_seconds: the driver's own, by kind.
    """

    def __init__(self):
        self.wall_seconds = self.idle_seconds = self.training_seconds = self.measuring_seconds = 0.0
        self.driver_seconds: Counter[str] = Counter()
        self._began = 0.0
        self._idle_since: dict[Slot, float] = {}
        self._seen: set[Slot] = set()

    @property
    def slot_seconds(self) -> float:
        return len(self._seen) * self.wall_seconds

    def begin(self, slots: Iterable[Slot]) -> None:
        self._began = time.perf_counter()
        self._idle_since = dict.fromkeys(slots, self._began)
        self._seen = set(self._idle_since)

    def busy(self, slot: Slot) -> None:
        self._seen.add(slot)  # those of a cluster come and go
        self.idle_seconds += time.perf_counter() - self._idle_since.pop(slot, time.perf_counter())

    def idle(self, slot: Slot) -> None:
        self._idle_since[slot] = time.perf_counter()

    def trained(self, outcome: Outcome) -> None:
        self.training_seconds += outcome.wall_seconds
        self.measuring_seconds += outcome.measuring_seconds

    @contextmanager
    def driver(self, kind: str) -> Iterator[None]:
        """Count what happens within as the driver's own time of a kind."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.driver_seconds[kind] += time.perf_counter() - began

    def end(self) -> None:
        for slot in list(self._idle_since):
            self.busy(slot)
        self.wall_seconds = time.perf_counter() - self._began

    def __str__(self) -> str:
        """One line of shares, in percent."""
        if not self.driver_seconds:
            return "nothing was begun"
        kinds = ", ".join(
            f"{kind} {seconds / self.wall_seconds:.1%}" for kind, seconds in self.driver_seconds.most_common()
        )
        return (
            f"slots had no work for {self.idle_seconds / self.slot_seconds:.1%} of the time and spent "
            f"{self.training_seconds / self.slot_seconds:.1%} in training, of which measuring "
            f"{self.measuring_seconds / (self.training_seconds or 1):.1%}; the driver's own time: {kinds}"
        )
