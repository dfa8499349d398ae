"""The run directory: one class names every path in it, and everything the driver writes goes through here.

A file is written aside, synced and renamed, so a reader sees a whole file or none. Only the driver
that holds the lock writes.
"""

from __future__ import annotations

import json
import os
import re
import socket
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nqs.identity import NUMERICS_VERSION
from nqs.tasks import NetworkWeights
from orchestrator.plan import Plan
from orchestrator.provenance import code_version, environment, moment
from orchestrator.tables import STEPS, TABLES, TABLES_VERSION, Table

# How the names of files start that hold the rows of many parts.
COMPACTED = "compacted-"
_CHECKPOINT_NAME = re.compile(r"(?P<run_id>\w+)\.(?P<level>\d+)\.(?P<step>\d+)\.npz")
# A reader that asks whether the lock is held holds it itself for an instant.
_LOCK_PATIENCE_SECONDS = 1.0
# What a person reads of a log's end.
_LOG_LINES = 20
# Files that are synced at once.
_MOST_SYNCS = 8

Contents = bytes | memoryview
File = tuple[Path, Contents]

_OWN_ENTRIES = {
    "sweep.json",
    "batches.json",
    "tables",
    "checkpoints",
    "logs",
    ".staging",
    ".lock",
    ".lock.json",
}


class StudyError(ValueError):
    """What is wrong with a run directory or an export, in one sentence that names the path."""


class WriteError(StudyError):
    """What could not be written while a study ran; what was committed before is whole."""


@dataclass(frozen=True)
class Holder:
    """Who has a run directory's lock.

    Attributes:
        since: by the clock of its machine.
        retry_failed: whether it gives failures that last another chance, too.
        retries_before: failures before this time are those of earlier starts. Later than `since` where the clock
            was set back in between; None: as `since`.
    """

    pid: int
    host: str
    since: datetime
    retry_failed: bool = False
    retries_before: datetime | None = None

    @property
    def first_failure(self) -> datetime:
        """The earliest time of a failure of its own."""
        return self.retries_before or self.since

    def as_json(self) -> bytes:
        times = {"since": self.since.isoformat(), "retries_before": self.first_failure.isoformat()}
        return json.dumps(vars(self) | times).encode()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file: where its run stood, and its contents."""

    path: Path
    run_id: str
    level: int
    step: int

    def read(self) -> bytes | None:
        """Its bytes, or None where the file is truncated or damaged."""
        try:
            contents = self.path.read_bytes()
            with zipfile.ZipFile(BytesIO(contents)) as archive:
                damaged = archive.testzip()
        except (OSError, zipfile.BadZipFile):
            return None
        return None if damaged else contents


class RunDirectory:
    """Paths, atomic writes and the lock of one run directory.

    Nothing is created before `prepare`.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.sweep_json = self.path / "sweep.json"
        self.batches_json = self.path / "batches.json"
        self.checkpoints = self.path / "checkpoints"
        # Outside tables/, so that no reader ever scans a half-written file.
        self.staging = self.path / ".staging"
        self._lock_file = self.path / ".lock"
        self._holder_file = self.path / ".lock.json"

    def table(self, table: Table) -> Path:
        return self.path / "tables" / table.name

    def part(self, table: Table, run_id: str, *numbers: int) -> Path:
        """The file of a table for a run, or for its level, or for its level and attempt."""
        return self.table(table) / self.part_name(run_id, *numbers)

    @staticmethod
    def part_name(run_id: str, *numbers: int) -> str:
        return ".".join((run_id, *map(str, numbers))) + ".parquet"

    def new_compacted(self, table: Table) -> Path:
        """The next name for a compacted file; none is used twice while there are files of it."""
        names = [
            path.stem.removeprefix(COMPACTED) for path in self.table(table).glob(f"{COMPACTED}*.parquet")
        ]
        # A copy that someone made has another name.
        taken = [int(name) for name in names if name.isdecimal()]
        return self.table(table) / f"{COMPACTED}{max(taken, default=0) + 1:06}.parquet"

    def checkpoint(self, run_id: str, level: int, step: int) -> Path:
        return self.checkpoints / f"{run_id}.{level}.{step}.npz"

    def log(self, run_id: str) -> Path:
        return self.path / "logs" / f"{run_id}.log"

    # --- the directory as a whole

    def belongs_to(self, plan: Plan) -> bool:
        """Whether the directory already holds this sweep at this profile; False where it is new.

        Raises:
            StudyError: it is a file, holds something else, or belongs to another sweep or profile.
        """
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise StudyError(f"{self.path} is a file; --out must name a run directory or a new path")
        if not self.sweep_json.exists():
            foreign = sorted(entry.name for entry in self.path.iterdir() if entry.name not in _OWN_ENTRIES)
            if foreign:
                raise StudyError(
                    f"{self.path} is not a run directory but not empty (it has {foreign[0]!r}); "
                    "--out must name a run directory or a new path"
                )
            if any((self.path / "tables").glob("*/*.parquet")):
                raise StudyError(
                    f"{self.path} has tables but no sweep.json; restore it or name another --out"
                )
            return False
        stored = self._read_sweep_json()
        sweep, profile = stored["sweep"], stored["profile"]
        if (sweep, profile) != (plan.sweep, plan.profile):
            raise StudyError(
                f"{self.path} belongs to sweep {sweep!r} at profile {profile!r}, not to "
                f"{plan.sweep!r} at {plan.profile!r}; --out must name another directory"
            )
        return True

    def prepare(self) -> None:
        """Create the directories and remove what a killed driver left half written."""
        for directory in (
            *map(self.table, TABLES.values()),
            self.checkpoints,
            self.path / "logs",
            self.staging,
        ):
            with _writing(directory):
                directory.mkdir(parents=True, exist_ok=True)
        for leftover in self.staging.iterdir():
            with _writing(leftover):
                leftover.unlink()

    def read_plan(self) -> Plan:
        """The plan in sweep.json.

        Raises:
            StudyError: it is missing, damaged or of a newer version.
        """
        data = self._read_sweep_json()
        try:
            return Plan.from_data(data)
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged_sweep_json(error) from None

    def _read_sweep_json(self) -> dict:
        """The contents of sweep.json, whose runs are not looked at."""
        try:
            data = json.loads(self.sweep_json.read_text(encoding="utf-8"))
            version = int(data["tables_version"])
            if missing := [name for name in ("sweep", "profile", "runs") if name not in data]:
                raise KeyError(missing[0])
        except OSError as error:
            raise StudyError(f"{self.sweep_json} cannot be read: {error.strerror}") from None
        except KeyError as error:
            raise StudyError(f"{self.sweep_json} is damaged: {error.args[0]} is missing") from None
        except (ValueError, TypeError) as error:
            raise self._damaged_sweep_json(error) from None
        if version > TABLES_VERSION:
            raise StudyError(
                f"{self.sweep_json} has tables of version {version}; this program reads up to {TABLES_VERSION}"
            )
        return data

    def _damaged_sweep_json(self, error: Exception) -> StudyError:
        return StudyError(f"{self.sweep_json} is damaged: {str(error).splitlines()[0]}")

    def stored_levels(self) -> dict[str, int | None]:
        """Every run that sweep.json asks for, and its levels where it has several; {} where there is none.

        Without its checks, which `belongs_to` has made: they take most of a large plan's time.
        """
        if not self.sweep_json.exists():
            return {}
        runs = json.loads(self.sweep_json.read_text(encoding="utf-8"))["runs"]
        return {run["run_id"]: run.get("levels") for run in runs}

    def write_plan(self, plan: Plan) -> None:
        """Write sweep.json, where it does not say the same already in the present version.

        So a directory of an older version says that it is of the present one before a file of it is written.
        """
        planned = {"tables_version": TABLES_VERSION, **plan.as_data()}
        if self.sweep_json.exists() and planned.items() <= self._read_sweep_json().items():
            return
        data = {
            "tables_version": TABLES_VERSION,
            "numerics_version": NUMERICS_VERSION,
            "code_version": code_version(),
            "created_at": datetime.now(UTC).isoformat(),
            "environment": environment(),
            **planned,
        }
        self.write_together([(self.sweep_json, json.dumps(data, indent=1).encode())])

    def read_batches(self) -> list[list[str]]:
        """Ids of runs that are trained together, as they were recorded; none in a new directory.

        Raises:
            StudyError: the record is damaged.
        """
        if not self.batches_json.exists():
            return []
        try:
            batches = json.loads(self.batches_json.read_text(encoding="utf-8"))["batches"]
            run_ids = [run_id for batch in batches for run_id in batch]
            whole = all(isinstance(batch, list) for batch in batches) and all(
                isinstance(run_id, str) for run_id in run_ids
            )
            if not whole or len({*run_ids}) < len(run_ids):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError):
            raise StudyError(
                f"{self.batches_json} is damaged; restore it, or remove it to have batches planned anew"
            ) from None
        return batches

    def write_batches(self, batches: Iterable[Sequence[str]]) -> None:
        """Record which runs are trained together."""
        self.write_together([(self.batches_json, json.dumps({"batches": [*batches]}).encode())])

    # --- writing

    def write_rows(self, table: Table, path: Path, rows: list[dict], sweep: str) -> None:
        """Write rows of a table as one immutable Parquet file with its provenance in the footer."""
        self.write_together([(path, encoded_rows(table, rows, sweep))])

    def write_table(
        self, path: Path, columns: pa.Table, provenance: dict[str, str], row_group_size: int
    ) -> None:
        """Write one immutable Parquet file of many rows, with provenance in its footer."""
        self.write_together([(path, _encoded(columns, provenance, row_group_size=row_group_size))])

    def append_log(self, run_id: str, text: str) -> None:
        path = self.log(run_id)
        with _writing(path), path.open("a", encoding="utf-8") as log:
            log.write(text.rstrip() + "\n")

    def log_tail(self, run_id: str) -> list[str]:
        """The last lines of a run's log; none where there is no log."""
        path = self.log(run_id)
        if not path.exists():
            return []
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]

    def write_together(self, *groups: Sequence[File]) -> None:
        """Write files, each whole or not at all; those of a group are there for good before any of the next is.

        All are written aside and synced side by side, as a disk takes a dozen syncs in hardly more time than one;
        then they get their names, group by group, and the names are synced.

        Raises:
            WriteError: one cannot be written; no file of its group or a later one counts as written.
        """
        files = [file for group in groups for file in group]
        staged = {path: self.staging / f"{path.parent.name}.{path.name}" for path, _ in files}
        try:
            _side_by_side(_stage, [(path, staged[path], contents) for path, contents in files])
            for group in groups:
                for path, _ in group:
                    self._name(staged[path], path)
                _side_by_side(_sync_directory, [(parent,) for parent in {path.parent for path, _ in group}])
        finally:
            for path in staged.values():
                with suppress(OSError):  # the next start removes what stays
                    path.unlink(missing_ok=True)

    def _name(self, staged: Path, path: Path) -> None:
        with _writing(path):
            os.replace(staged, path)

    def remove(self, path: Path) -> None:
        """Remove a file whose rows another one has."""
        try:
            path.unlink()
        except OSError as error:
            raise StudyError(f"{path} cannot be removed: {error.strerror}") from None

    # --- checkpoints

    def all_checkpoints(self, run_id: str = "*") -> Iterator[Checkpoint]:
        """The checkpoints of all runs or of one; files with other names, copies say, are none."""
        for path in self.checkpoints.glob(f"{run_id}.*.npz"):
            if match := _CHECKPOINT_NAME.fullmatch(path.name):
                yield Checkpoint(path, match["run_id"], int(match["level"]), int(match["step"]))

    def checkpointed_runs(self) -> set[str]:
        """Ids of the runs that have a checkpoint."""
        return {checkpoint.run_id for checkpoint in self.all_checkpoints()}

    def checkpoints_of(self, run_id: str) -> list[Checkpoint]:
        """A run's checkpoints, newest first."""
        return sorted(
            self.all_checkpoints(run_id),
            key=lambda checkpoint: (checkpoint.level, checkpoint.step),
            reverse=True,
        )

    def newest_steps(self) -> dict[tuple[str, int], int]:
        """Step of the newest checkpoint of each run and level that has one."""
        newest: dict[tuple[str, int], int] = {}
        for found in self.all_checkpoints():
            key = found.run_id, found.level
            newest[key] = max(found.step, newest.get(key, 0))
        return newest

    def remove_checkpoint(self, checkpoint: Checkpoint) -> None:
        with _writing(checkpoint.path):
            checkpoint.path.unlink(missing_ok=True)

    # --- the lock

    @contextmanager
    def lock(self, retry_failed: bool = False) -> Iterator[Holder]:
        """Hold the run directory; the lock goes with the process, however that ends.

        Args:
            retry_failed: whether the driver gives failures before it another chance; readers must know.

        Raises:
            StudyError: another driver has it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self._lock_file)
        try:
            self.staging.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_LOCK_PATIENCE_SECONDS)
        except Timeout:
            holder = self._recorded_holder()
            who = f" (process {holder.pid} on {holder.host}, since {moment(holder.since)})" if holder else ""
            raise StudyError(f"{self.path} is in use by another driver{who}") from None
        except OSError as error:
            raise StudyError(f"{self.path} cannot be written: {error.strerror}") from None
        try:
            holder = Holder(os.getpid(), socket.gethostname(), datetime.now(UTC), retry_failed)
            self.write_together([(self._holder_file, holder.as_json())])
            yield holder
        finally:
            with suppress(OSError):  # a holder without the lock counts as none
                self._holder_file.unlink(missing_ok=True)
            lock.release()

    def holder(self) -> Holder | None:
        """Who holds the lock now; None where nobody does, whatever a killed driver left behind."""
        if not self._holder_file.exists() or not self._lock_file.exists():
            return None
        # Asked for here, since most readers find no driver and need not wait for it.
        from filelock import FileLock, Timeout

        lock = FileLock(self._lock_file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return self._recorded_holder()
        except OSError:
            return None  # a read-only copy has no driver
        lock.release()
        return None

    def record_retries_before(self, time: datetime) -> None:
        """Say which failures have another chance in this start; only for who holds the lock, and has read them."""
        holder = self._recorded_holder()
        if holder is not None and holder.first_failure != time:
            self.write_together([(self._holder_file, replace(holder, retries_before=time).as_json())])

    def _recorded_holder(self) -> Holder | None:
        try:
            record = json.loads(self._holder_file.read_text())
            times = record["since"], record.get("retries_before", record["since"])
            since, before = map(datetime.fromisoformat, times)
            return Holder(
                int(record["pid"]), str(record["host"]), since, bool(record.get("retry_failed")), before
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}") from None


def _stage(path: Path, staged: Path, contents: Contents) -> None:
    with _writing(path), staged.open("wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    with _writing(path):
        directory = os.open(path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@cache
def _syncing() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_SYNCS, thread_name_prefix="sync")


def _side_by_side(do: Callable[..., None], arguments: Sequence[tuple]) -> None:
    """Call for each of the arguments, in threads where there are several; all end before an error is raised."""
    if len(arguments) == 1:
        do(*arguments[0])
        return
    begun = [_syncing().submit(do, *each) for each in arguments]
    wait(begun)
    for each in begun:
        each.result()


def encoded_rows(table: Table, rows: list[dict], sweep: str) -> Contents:
    """Rows of a table as a Parquet file with its provenance in the footer."""
    return encoded_columns(table, pa.Table.from_pylist(rows, schema=table.schema), sweep)


def encoded_columns(table: Table, columns: pa.Table, sweep: str) -> Contents:
    """As `encoded_rows`, of columns.

    Without dictionaries and statistics, which cost a third of the time and are worth nothing in a part; a compacted
    file has them.
    """
    provenance = {"numerics_version": str(NUMERICS_VERSION), "sweep": sweep}
    return _encoded(columns, provenance, use_dictionary=False, write_statistics=False)


def _encoded(columns: pa.Table, provenance: dict[str, str], **options) -> Contents:
    """A Parquet file, zstd, with provenance and the present versions in its footer."""
    written_by = {
        "tables_version": str(TABLES_VERSION),
        "code_version": code_version(),
        "created_at": datetime.now(UTC).isoformat(),
    }
    buffer = BytesIO()
    columns = columns.replace_schema_metadata(provenance | written_by)
    pq.write_table(columns, buffer, compression="zstd", **options)
    return buffer.getbuffer()


def steps_columns(run_id: str, level: int, steps: Mapping[str, np.ndarray]) -> pa.Table:
    """The rows of `steps` of a trained network.

    Args:
        steps: columns of equal lengths; one that is missing is null, and a network that is built has none.
    """
    length = len(next(iter(steps.values()), ()))
    columns = {"run_id": [run_id] * length, "level": np.repeat(level, length), **steps}
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(length, field.type)
        for field in STEPS.schema
    ]
    return pa.Table.from_arrays(arrays, schema=STEPS.schema)


def weights_rows(run_id: str, level: int, weights: NetworkWeights) -> list[dict]:
    """The rows of `weights` for a trained network, one a layer."""
    return [
        {
            "run_id": run_id,
            "level": level,
            "layer": layer,
            "shape": list(live.shape),
            "indices": live.indices,
            "values": live.values,
        }
        for layer, live in weights.items()
    ]
