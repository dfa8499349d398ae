"""What other studies have of a plan's missing runs: a run that several sweeps ask for need be trained once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from nqs.identity import NUMERICS_VERSION
from orchestrator import store
from orchestrator.progress import duration
from orchestrator.run_directory import RunDirectory
from orchestrator.schedule import Schedule
from orchestrator.table_files import files_of, is_part, read_files
from orchestrator.tables import RUNS, STATES
from orchestrator.units import Unit, given_of

_COLUMNS = tuple(column for column in STATES.columns if column.name in (*STATES.key, "weights_left_out"))


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
        return f"{self.path} has results of {runs}, {duration(self.seconds)} of work: --merge {self.path} takes them in"


def found_elsewhere(schedule: Schedule, own: Path) -> list[Elsewhere]:
    """Studies beside a run directory, and the repository's own exports, that have missing runs; what spares most first.

    Passed over are files that cannot be read, runs of older numerics, and runs whose weights an export left out though
    others that are missing here start from them.
    """
    missing = set(schedule.missing)
    if not missing:
        return []
    there = {path: _of_use(path, schedule, missing) for path in _nearby(own)}
    found = []
    while there:
        seconds, path = max(
            (sum(map(schedule.seconds.__getitem__, units)), path) for path, units in there.items()
        )
        units = there.pop(path)
        if units:
            found.append(Elsewhere(path, len({unit.run_id for unit in units}), seconds))
        there = {path: others - units for path, others in there.items()}
    return found


def _nearby(own: Path) -> Iterator[Path]:
    exports = store.REPOSITORY_REFERENCES.parent
    here = Path.cwd()
    exports = exports.relative_to(here) if exports.is_relative_to(here) else exports
    for folder in (own.parent, exports):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if path.resolve() != own.resolve())


def _of_use(path: Path, schedule: Schedule, missing: set[Unit]) -> set[Unit]:
    """The missing units that a study has; none where there is no study."""
    if (path / "sweep.json").exists():
        directory = RunDirectory(path)
        states, runs = files_of(directory, STATES), files_of(directory, RUNS)
    elif (path / "runs.parquet").exists():
        states, runs = [path / "states.parquet"], [path / "runs.parquet"]
    else:
        return set()
    problems: list[str] = []
    # There may be thousands of parts, and their names say enough: what was trained there has its weights.
    parts = {file for file in states if is_part(file)}
    rows = read_files(STATES, [file for file in states if file not in parts], problems, _COLUMNS)
    units = {Unit(*key) for key in rows.select(STATES.key).iter_rows()}
    units |= {Unit(run_id, int(level)) for run_id, level in (file.stem.split(".") for file in parts)}
    units &= missing
    given = given_of(store.without_weights(rows), missing - units, schedule.jobs)
    kept_out = {network.run_id for networks in given.values() for network in networks}
    ended = read_files(RUNS, runs, problems)
    kept_out |= {*ended.filter(pl.col("numerics_version") < NUMERICS_VERSION)["run_id"]}
    return {unit for unit in units if unit.run_id not in kept_out}
