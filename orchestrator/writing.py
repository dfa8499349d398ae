"""What came back is written in a thread of its own, in the order in which it came.

The disk's syncs are most of it, and nobody waits for them: the loop goes on giving slots their tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from orchestrator.run_directory import File, RunDirectory

# Records beyond which a slow disk holds up the loop, so that a kill never loses much.
MOST_WAITING = 16


@dataclass(frozen=True)
class Record:
    """What is to be written of a unit.

    Attributes:
        files: what must be there for good before the rest is, each made when it is written.
        commits: what makes them count.
        afterwards: what is done once all is written, by who calls the writer.
    """

    files: tuple[Callable[[], File], ...] = ()
    commits: tuple[Callable[[], File], ...] = ()
    afterwards: Callable[[], None] = lambda: None


class Writer:
    """Writes records one group after another: what came while a group was written is the next one.

    A group's files are there for good before its commits are, and a group before the next one begins. Once a group
    could not be written nothing more is, since later records may build on it.
    """

    def __init__(self, directory: RunDirectory):
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._waiting: list[Record] = []
        self._writing: list[Record] = []
        self._done: Future[None] | None = None
        self._failed = False

    @property
    def idle(self) -> bool:
        """Whether all that was added is written."""
        return self._done is None and not self._waiting

    def add(self, record: Record) -> None:
        self._waiting.append(record)

    def proceed(self) -> None:
        """End a group that is written, and begin the next one; where much waits, wait for the disk.

        Raises:
            WriteError: the group could not be written.
        """
        if self._done is not None and (self._done.done() or len(self._waiting) > MOST_WAITING):
            self._end_group()
        if self._done is None and self._waiting and not self._failed:
            self._writing, self._waiting = self._waiting, []
            self._done = self._thread.submit(self._write, self._writing)

    def finish(self) -> None:
        """Return once all is written; after a failure at once.

        Raises:
            WriteError: something could not be written.
        """
        while not self.idle and not self._failed:
            self.proceed()
            if self._done is not None:
                self._end_group()
        self._thread.shutdown()

    def _end_group(self) -> None:
        done, self._done = self._done, None
        # Also what is no OSError: the records behind this one must not be written whatever it was.
        self._failed = True
        done.result()
        for record in self._writing:
            record.afterwards()
        self._failed = False

    def _write(self, records: list[Record]) -> None:
        self._directory.write_together(
            [make() for record in records for make in record.files],
            [make() for record in records for make in record.commits],
        )
