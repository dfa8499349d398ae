"""What became of a task that ended without a result, and what its exception says of it."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import NamedTuple

from orchestrator.retries import ErrorClass


class Failure(NamedTuple):
    """A task that ended without a result.

    Attributes:
        error_class: what failed; some may succeed at another try.
        message: first line of the error, and where it happened.
        traceback: for the run's log.
    """

    error_class: ErrorClass
    message: str
    traceback: str


def failure_of(error: Exception) -> Failure:
    """The failure of a task that raised this; to be called where it is caught."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
    message = f"{type(error).__name__}: {first_line(error)} ({where})"
    return Failure(error_class(error), message, traceback.format_exc())


# XLA's status and the errors of CUDA's libraries, which allocate for themselves.
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY", "ALLOC_FAILED", "Unable to allocate")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def error_class(error: Exception) -> ErrorClass:
    """What an exception that a task raised says of it."""
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return "out_of_memory"
    if number in _FULL:
        return "disk"
    # XlaRuntimeError is a RuntimeError without a code, so the text decides.
    exhausted = isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    return "out_of_memory" if exhausted else "bug"


def killed_for_memory() -> int:
    """Processes that this machine's kernel has ended since it started because memory ran out; 0 where it doesn't say."""
    try:
        counters = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in counters if line.startswith("oom_kill "))


def first_line(error: Exception) -> str:
    """The message's first line."""
    return (str(error).strip() or "no message").splitlines()[0]


def last_line(error: Exception) -> str:
    """The exception's own line, under a traceback that travelled with it."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
