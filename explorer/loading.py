"""Which study is open, and reading it while a sweep still writes.

A study is read again only when one of its files changed. What cannot be read is told in a sentence, and
the rest is shown.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from orchestrator.store import Study, StudyError, read_study
from orchestrator.tables import MASKS, TABLES

# Where run directories are made by default, and where the examples lie.
RUNS = Path("runs")
EXAMPLES = Path(__file__).resolve().parents[1] / "data"
# The one that has something to show on most pages.
FIRST_EXAMPLE = "finite_size-laptop"

# A driver that was killed changes no file, so the status "running" is looked at again after a while.
_REREAD_SECONDS = 30
_OPEN = "open_directory"
_SHOWN = "fingerprint_shown"


@dataclass(frozen=True)
class Opened:
    """A directory and what could be read of it.

    Attributes:
        path: the run directory or export.
        study: None where it could not be read at all.
        problems: one sentence each, of the directory and of single files.
    """

    path: Path
    study: Study | None
    problems: tuple[str, ...]


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


def _files(directory: Path) -> Iterator[tuple[str, int, int]]:
    """Path, time of change (ns) and size of every file that decides what is read of a study."""
    for folder, folders, names in os.walk(directory):
        # Logs and staged files change all the time and are never read.
        folders[:] = [name for name in folders if name != "logs" and not name.startswith(".")]
        for name in names:
            file = os.path.join(folder, name)
            try:
                stat = os.stat(file)
            except FileNotFoundError:
                continue  # The driver removes parts after it merged them.
            yield file, stat.st_mtime_ns, stat.st_size


def fingerprint(directory: Path) -> str:
    """A hash that changes whenever a file of the study appears, changes or goes."""
    text = "\n".join(f"{file} {stamp} {size}" for file, stamp, size in sorted(_files(directory)))
    return hashlib.sha256(text.encode()).hexdigest()


def open_study(path: Path) -> Opened:
    """Read a directory, or take it from the cache where no file changed."""
    return _open(path)[0]


def _open(path: Path) -> tuple[Opened, str | None]:
    """As `open_study`, with the fingerprint of what was read; None where the directory cannot be listed."""
    found = None
    try:
        found = fingerprint(path)
        return _read(str(path), found), found
    except OSError as error:
        return Opened(path, None, (f"{path} cannot be read: {error.strerror or error}.",)), found


@st.cache_resource(max_entries=8, ttl=_REREAD_SECONDS, show_spinner="Reading the study …")
def _read(path: str, fingerprint: str) -> Opened:
    try:
        study = read_study(Path(path))
    except StudyError as error:
        return Opened(Path(path), None, (f"{error}.",))
    return Opened(Path(path), study, (*study.problems, *_missing_tables(Path(path))))


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
    """Whether a file of the open study appeared, changed or went since it was shown."""
    path = st.session_state.get(_OPEN)
    try:
        return path is not None and fingerprint(path) != st.session_state.get(_SHOWN)
    except OSError:
        return False


def selected() -> Opened | None:
    """The study that the pages show, or None where there is none."""
    path = st.session_state.get(_OPEN)
    if path is None:
        return None
    opened, found = _open(path)
    if found is not None:
        st.session_state[_SHOWN] = found
    return opened
