"""What is tried again after a failure, how often and when: decisions alone, given the time and without a clock.

Times are those of a monotonic clock. The time of day may jump by hours and changes nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Literal

# bug: the task raised. out_of_memory: it did not fit, or the system ended its process for memory. actor_lost,
# node_lost: the slot's process, or ray on its machine, ended. hung: nothing was heard for too long. disk: the
# slot could not write.
ErrorClass = Literal["bug", "out_of_memory", "actor_lost", "node_lost", "hung", "disk"]

# What another try may mend, since it was not the task's own doing.
TRANSIENT: tuple[ErrorClass, ...] = ("out_of_memory", "actor_lost", "node_lost", "hung", "disk")
# A unit that fails so often without one report in between is given up.
MOST_ATTEMPTS = 5
# The waits before the second, third, … attempt: 1, 4, 16, 60 s.
FIRST_WAIT_SECONDS = 1.0
WAIT_FACTOR = 4.0
MOST_WAIT_SECONDS = 60.0

# A stretch reports every few seconds, but the first of a program compiles it, the last of a level measures, and
# of a slow network or a large bond dimension one chunk of steps may be the whole level. So nothing counts as hung
# before half an hour, nor before ten times what all levels of the batch should take together.
HUNG_AFTER_SECONDS = 1800.0
HUNG_AFTER_TIMES = 10.0


def patience_seconds(expected_seconds: float, least: float = HUNG_AFTER_SECONDS) -> float:
    """How long a slot may be silent, given the estimated time of the levels that it has in hand."""
    return max(least, HUNG_AFTER_TIMES * expected_seconds)


class Retries:
    """Losses in a row of units or of slots, and who rests until when.

    A loss from outside says nothing about the task, so only losses without a report in between count.

    Args:
        first_seconds: the rest after the first loss; after each further one it is WAIT_FACTOR times as long.
    """

    def __init__(self, first_seconds: float = FIRST_WAIT_SECONDS):
        self._first_seconds = first_seconds
        self._losses: dict[Hashable, int] = {}
        self._until: dict[Hashable, float] = {}

    def lost(self, key: Hashable, now: float) -> int:
        """Let it rest after a loss; its losses in a row."""
        losses = self._losses[key] = self._losses.get(key, 0) + 1
        # Slots count on for weeks, and a large power overflows.
        wait = self._first_seconds * WAIT_FACTOR ** min(losses - 1, MOST_ATTEMPTS)
        self._until[key] = now + min(wait, MOST_WAIT_SECONDS)
        return losses

    def settled(self, key: Hashable) -> None:
        """It reported or was given up: earlier losses no longer count."""
        self._losses.pop(key, None)
        self._until.pop(key, None)

    def rests(self, key: Hashable) -> bool:
        return key in self._until

    def rested(self, now: float) -> list[Hashable]:
        """Whose rest is over, each named once."""
        over = [key for key, until in self._until.items() if until <= now]
        for key in over:
            del self._until[key]
        return over

    def next_end(self) -> float:
        """When the first rest is over; infinite where nobody rests."""
        return min(self._until.values(), default=math.inf)
