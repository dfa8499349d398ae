"""What other studies have of a plan's missing runs: a run that several sweeps ask for need be trained once."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from orchestrator import store
from orchestrator.merging import read_source, runs_that_stay_out
from orchestrator.progress import duration
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.standing import Standing
from orchestrator.table_files import files_of, is_part, read_files
from orchestrator.tables import STATES
from orchestrator.units import Unit

_KEY = STATES.columns[: len(STATES.key)]


@dataclass(frozen=True)
class Elsewhere:
    """A study that has missing runs of another.

    Attributes:
        path: its run directory or export.
        runs: how many of the missing runs it has results of that no study before it in the list has.
        seconds: estimated time of one slot that taking them in spares.
    """

    path: Path
    runs: int
    seconds: float

    @property
    def sentence(self) -> str:
        runs = f"{self.runs} missing run{'s' * (self.runs != 1)}"
        return (
            f"{self.path} has results of {runs}, {duration(self.seconds)} of work: before a start, --merge "
            f"{shlex.quote(str(self.path))} takes them in"
        )


def found_elsewhere(standing: Standing) -> list[Elsewhere]:
    """Studies beside a run directory, and the repository's own exports, that have missing runs; what spares most first.

    What a merge would not take in does not count, and a study that cannot be read is passed over.
    """
    seconds = standing.schedule.seconds
    missing = set(standing.schedule.missing)
    if not missing:
        return []
    runs = {unit.run_id for unit in missing}
    there = {path: _of_use(path, standing, missing, runs) for path in _nearby(standing.study.path)}
    found = []
    while there:
        spared, path = max((sum(map(seconds.__getitem__, units)), path) for path, units in there.items())
        units = there.pop(path)
        if units:
            found.append(Elsewhere(path, len({unit.run_id for unit in units}), spared))
        there = {path: others - units for path, others in there.items()}
    return found


def _nearby(own: Path) -> Iterator[Path]:
    """Other studies in the same folder and in the repository's, as a person would name them from here."""
    here, own = os.getcwd(), os.path.realpath(own)
    for folder in (os.path.dirname(own), os.path.realpath(store.REPOSITORY_REFERENCES.parent)):
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            # Neither raises where a folder may not be looked into.
            if any(os.path.isfile(os.path.join(path, file)) for file in ("sweep.json", "runs.parquet")) and (
                os.path.realpath(path) != own
            ):
                yield Path(os.path.relpath(path) if path.startswith(here + os.sep) else path)


def _of_use(path: Path, standing: Standing, missing: set[Unit], missing_runs: set[str]) -> set[Unit]:
    """The missing units that a merge of a study would take in."""
    try:
        # Most studies share no run, and are not read for it.
        if missing_runs.isdisjoint(_run_ids(path)):
            return set()
        source = read_source(path, standing.plan, whole=False)
        out = runs_that_stay_out(standing.plan, standing.whole, source).run_ids
    except (OSError, StudyError, pl.exceptions.PolarsError):
        return set()
    coming = source.states.filter(~pl.col("run_id").is_in(out)).select(STATES.key)
    return missing & {Unit(*key) for key in coming.iter_rows()}


def _run_ids(path: Path) -> set[str]:
    """The runs of which a study has trained networks, from the names of its small files and from its large ones."""
    directory, export = RunDirectory(path), path / "states.parquet"
    files = files_of(directory, STATES) if directory.sweep_json.exists() else [export]
    parts = {file for file in files if is_part(file)}
    large = read_files(STATES, [file for file in files if file not in parts], [], _KEY)
    return {*large["run_id"], *(file.name.split(".")[0] for file in parts)}
