"""Which study is open, and reading it while a sweep still writes.

A study is read again when a file of its tables comes or goes, and only then: parts of tables never change. Checkpoints
alone say what runs now (`Study.runs_now`), for the page that shows it. What cannot be read is told in a sentence, and
the rest is shown.
"""

from __future__ import annotations

import gc
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from orchestrator.store import REPOSITORY_REFERENCES, Study, StudyError, driver_of, read_study
from orchestrator.tables import MASKS, TABLES

# Where run directories are made by default, and where the examples lie.
RUNS = Path("runs")
EXAMPLES = Path(__file__).resolve().parents[1] / "data"
# The one that has something to show on most pages.
FIRST_EXAMPLE = "finite_size-laptop"

_OPEN, _SHOWN = "open_directory", "shown"


@dataclass(frozen=True)
class Opened:
    """A directory and what could be read of it.

    Attributes:
        path: the run directory or export.
        study: None where it could not be read at all.
        problems: one sentence each, of the directory and of single files.
        fingerprint: of what was read; None where the directory cannot be listed.
    """

    path: Path
    study: Study | None
    problems: tuple[str, ...]
    fingerprint: str | None = None


def is_study(path: Path) -> bool:
    """Whether a directory is a run directory or an export."""
    return any((path / name).exists() for name in ("sweep.json", "tables", "runs.parquet", "states.parquet"))


def find_studies(argument: str | None) -> list[Path]:
    """Directories to choose from: the one asked for, then those in `RUNS` (newest first) and `EXAMPLES`.

    Examples come by name, but for `FIRST_EXAMPLE`: a checkout gives all files one time.

    Raises:
        ValueError: the argument is no run directory or export, with the sentence to show.
    """
    examples = sorted(_studies_below(EXAMPLES), key=lambda path: (path.name != FIRST_EXAMPLE, path.name))
    found = [*sorted(_studies_below(RUNS), key=_last_change, reverse=True), *examples]
    if argument is None:
        return found
    asked = Path(argument)
    if not asked.is_dir():
        what = "is a file" if asked.exists() else "does not exist"
        raise ValueError(f"{argument} {what}; give a run directory or an exported directory.")
    if not is_study(asked):
        raise ValueError(
            f"{argument} is neither a run directory (sweep.json, tables/) nor an export (runs.parquet); give one of them."
        )
    return [asked, *(path for path in found if path.resolve() != asked.resolve())]


def in_reach() -> list[Path]:
    """The open study, then those in `RUNS` and `EXAMPLES`."""
    path = st.session_state.get(_OPEN)
    return find_studies(None if path is None else str(path))


def _studies_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and is_study(path)]


def _last_change(path: Path) -> float:
    """When the study last got a result; a folder's time is that of the last file renamed into it."""
    marks = [path / name for name in ("sweep.json", "tables/states", "runs.parquet")]
    return max((mark.stat().st_mtime for mark in marks if mark.exists()), default=0.0)


def fingerprint(directory: Path, of_each_file: bool = False) -> str:
    """A hash that changes whenever a file of the study appears or goes, or its driver does.

    Args:
        of_each_file: also when a file of a table changes, as one does that is being copied; takes six times as long.

    Raises:
        OSError: the directory cannot be listed.
    """
    # A killed driver changes no file, but its lock goes.
    marks = [f"{driver_of(directory)}"]
    for file in (*sorted(directory.iterdir()), REPOSITORY_REFERENCES):
        if file.is_file() and not file.name.startswith("."):
            marks.append(_mark(file))
    for folder in sorted(directory.glob("tables/*")):
        if not folder.is_dir():
            continue  # what a file manager leaves
        # Names besides the time: two files may come within one tick of the disk's clock.
        marks += [_mark(folder), *os.listdir(folder)]
        if of_each_file:
            marks += map(_mark, folder.iterdir())
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()


def _mark(path: Path) -> str:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ""  # The driver removes parts after it merged them.
    return f"{path} {stat.st_mtime_ns} {stat.st_size}"


@dataclass
class _Kept:
    """What was last read of a study, for all sessions; one of 10⁴ runs takes half a gigabyte."""

    opened: Opened | None = None
    reading: threading.Lock = field(default_factory=threading.Lock)


# As many as the figure sheet reads at once, with all examples.
@st.cache_resource(max_entries=16, show_spinner=False)
def _kept(path: str) -> _Kept:
    return _Kept()


def open_study(path: Path) -> Opened:
    """Read a directory, or take what was read of it where it has not changed since."""
    kept = _kept(str(path))
    with kept.reading:
        try:
            if kept.opened is None or _has_changed(kept.opened):
                with st.spinner("Reading the study …"):
                    kept.opened = _read(path)
        except OSError as error:
            return Opened(path, None, (f"{path} cannot be read: {error.strerror or error}.",))
        return kept.opened


def _has_changed(opened: Opened) -> bool:
    # A part that was damaged may be one that is being copied.
    return fingerprint(opened.path, of_each_file=bool(opened.problems)) != opened.fingerprint


def _read(path: Path) -> Opened:
    # Before reading, so that what comes meanwhile counts as new.
    marks = [fingerprint(path, of_each_file) for of_each_file in (False, True)]
    try:
        with _no_garbage_collected():
            study = read_study(path)
    except StudyError as error:
        return Opened(path, None, (f"{error}.",), marks[True])
    # For schedules; every page ends with a collection of garbage, which would look at each of 3·10⁵.
    study.committed = set()
    problems = (*study.problems, *_missing_tables(path))
    return Opened(path, study, problems, marks[bool(problems)])


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """Reading makes a million objects that all stay a while: looking through them for garbage took half of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _missing_tables(path: Path) -> list[str]:
    """What an export lacks; a run directory that lacks a table has just not filled it."""
    if (path / "sweep.json").exists():
        return []
    # Masks are for other programs; exports of older versions lack them.
    needed = [name for name in TABLES if name != MASKS.name]
    missing = [f"{name}.parquet" for name in needed if not (path / f"{name}.parquet").exists()]
    return [f"{path} has no {', '.join(missing)}; what needs it is not shown."] if missing else []


def names_of(studies: list[Path]) -> dict[str, Path]:
    """Studies by a short name that tells them apart: folder and name, the whole path where two share that."""
    short = ["/".join(path.resolve().parts[-2:]) for path in studies]
    return {
        name if short.count(name) == 1 else str(path.resolve()): path
        for name, path in zip(short, studies, strict=True)
    }


def select(path: Path | None) -> None:
    """Make a directory the one that the pages show; None where there is none."""
    st.session_state[_OPEN] = path


def has_changed() -> bool:
    """Whether the open study changed since it was shown."""
    shown = selected()
    try:
        return shown is not None and _has_changed(shown)
    except OSError:
        return False


def look() -> Opened | None:
    """The open study as it is now, for the pages to show; None where there is none."""
    path = st.session_state.get(_OPEN)
    st.session_state[_SHOWN] = None if path is None else open_study(path)
    return selected()


def selected() -> Opened | None:
    """The study that the pages show, as it was when `look` last looked: one page has one state of it."""
    return st.session_state.get(_SHOWN)
