"""Reading a study: a run directory while it is being written, or an export, as Polars frames.

Reading is tolerant: a damaged file is named in `Study.problems` and the rest is there all the same. A
level counts once its row of `states` is there; files of a level that was never committed don't.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nqs import extrapolation
from nqs.config import ReferenceJob
from nqs.identity import NUMERICS_VERSION
from nqs.tasks import LiveWeights, NetworkWeights
from orchestrator.plan import Job, Plan
from orchestrator.retries import TRANSIENT
from orchestrator.run_directory import Holder, RunDirectory, StudyError
from orchestrator.schedule import Schedule, unit_states
from orchestrator.table_files import (
    damaged_files,
    damaged_sentence,
    files_of,
    is_compacted,
    read_files,
    read_level,
    read_table,
    schema_of,
    unique_rows,
)
from orchestrator.tables import (
    ATTEMPTS,
    MASKS,
    REFERENCES,
    RUN_FIELDS,
    RUNS,
    STATES,
    STEPS,
    WEIGHTS,
    Column,
    Table,
    fields_of_runs,
)
from orchestrator.units import Unit, units_of

# Reference energies that travel with the repository, for lattices that no sweep can diagonalise.
REPOSITORY_REFERENCES = Path(__file__).resolve().parent.parent / "data" / "references.parquet"
# Where several are known, the one that is trusted most.
_REFERENCE_METHODS = ("exact", "ed", "dmrg")
# Standard errors by which an energy must lie below its reference to be flagged: a large study has thousands.
_SIGNIFICANT = 5.0
# Sums over all configurations have no error but rounding, relatively.
_ROUNDING = 1e-11

_TEXT, _NUMBER, _INT = pa.string(), pa.float64(), pa.int32()
_CLUSTERS = (
    Column("trajectory_run_id", _TEXT, "the trajectory that the run is or belongs to; null for dense runs"),
    Column("dense_run_id", _TEXT, "the dense run that the run is or starts from"),
)
# What `Study.runs` has beyond the table `runs`.
RUN_COLUMNS = (
    *_CLUSTERS,
    Column("status", _TEXT, "waiting, ready, running, done, diverged, failed, blocked or stale"),
    Column("blocked_by", _TEXT, "the run whose failure or divergence blocks this one"),
    Column("reason", _TEXT, "why it diverged, failed or is blocked: one line"),
    Column("planned", pa.bool_(), "whether the sweep, as it is now, asks for the run"),
    Column("levels_done", _INT, "trained networks that are committed"),
    Column("levels_wanted", _INT, "trained networks that the run consists of"),
)
# What `Study.states` has beyond the table `states` and the run's own fields.
STATE_COLUMNS = (
    *_CLUSTERS,
    Column("reference_energy", _NUMBER, "E0, total", "J"),
    Column("reference_energy_error", _NUMBER, "its error", "J"),
    Column("reference_method", _TEXT, "ed, dmrg or exact"),
    Column("relative_error", _NUMBER, "(E − E0) / |E0|, signed; null where E0 is 0 within its error"),
    Column("relative_error_error", _NUMBER, "one standard error"),
    Column("error_per_spin", _NUMBER, "(E − E0) / N, signed", "J"),
    Column("error_per_spin_error", _NUMBER, "one standard error", "J"),
    Column(
        "below_reference", pa.bool_(), "the energy lies below the reference by more than 5 of their errors"
    ),
)

_RUN_COLUMNS_OF_STATES = tuple(column for column in RUN_FIELDS if column.name not in ("run_id", "level"))
JOINED_STATES = (*STATES.columns, *_RUN_COLUMNS_OF_STATES, *STATE_COLUMNS)
JOINED_RUNS = (*RUNS.columns, *RUN_COLUMNS)


@dataclass
class Study:
    """What is known of a study.

    Attributes:
        runs: every run of the plan, finished or not, and finished ones that it no longer asks for;
            columns JOINED_RUNS.
        states: committed networks with their run's fields and errors; columns JOINED_STATES.
        references: reference energies, the most trusted one of each Hamiltonian first.
        attempts: failures, oldest first.
        problems: a sentence for each file that could not be read.
        only: the expression that chose the runs; None: all are there.
        committed: units of the plan whose result is in the tables, of runs that were not chosen too; none
            of an export, which has no plan.
    """

    path: Path
    sweep: str
    profile: str
    runs: pl.DataFrame
    states: pl.DataFrame
    references: pl.DataFrame
    attempts: pl.DataFrame
    problems: list[str] = field(default_factory=list)
    only: str | None = None
    committed: set[Unit] = field(default_factory=set)

    @cached_property
    def steps(self) -> pl.DataFrame:
        """Recorded training steps of committed levels, read when first asked for."""
        return self._of_committed(STEPS)

    def steps_of(self, run_id: str) -> pl.DataFrame:
        """As `steps`, of one run; the other runs' are not read."""
        return self._of_committed(STEPS, run_id)

    def runs_now(self) -> pl.DataFrame:
        """`runs`, of which those are running that have a checkpoint of the present driver's now; no table is read."""
        return self.runs if _is_export(self.path) else _with_running(RunDirectory(self.path), self.runs)

    def log_tail(self, run_id: str) -> list[str]:
        """The last lines of a run's log; none of an export."""
        return RunDirectory(self.path).log_tail(run_id)

    def row_count(self, table: Table) -> int | None:
        """Rows of a table's committed levels, from its files' footers alone; None where a file is damaged.

        More where a compaction or a merge was stopped half-way: a reader drops what is there twice, this doesn't see it.
        """
        if _is_export(self.path):
            files = [self.path / f"{table.name}.parquet"]
        else:
            directory = RunDirectory(self.path)
            levels = self.states.select("run_id", "level").iter_rows()
            committed = {directory.part_name(*level) for level in levels}
            files = [
                path for path in files_of(directory, table) if is_compacted(path) or path.name in committed
            ]
        try:
            return sum(pq.read_metadata(path).num_rows for path in files)
        except (OSError, pa.ArrowException):
            return None

    @cached_property
    def all_weights(self) -> pl.DataFrame:
        """The table `weights` of committed levels; large."""
        return self._of_committed(WEIGHTS)

    @cached_property
    def masks(self) -> pl.DataFrame:
        """The table `masks`; of a run directory those alone whose weights an export left out before they came here."""
        return self._of_committed(MASKS)

    def read_large_tables(self) -> None:
        """Read `steps`, `all_weights` and `masks` now, so that `problems` has all that there are."""
        _ = self.steps, self.all_weights, self.masks

    def weights(self, run_id: str, level: int) -> NetworkWeights:
        """A trained network's live weights, by layer.

        Raises:
            StudyError: the level is not committed, its file is missing or damaged, or an export left it out.
        """
        state = self.states.filter(run_id=run_id, level=level)
        if state.is_empty():
            raise StudyError(f"{self.path} has no level {level} of run {run_id}")
        if state["weights_left_out"][0]:
            raise StudyError(
                f"{self.path} has level {level} of run {run_id} without its weights: the export that it comes from "
                "left them out"
            )
        if _is_export(self.path):
            rows = pl.scan_parquet(self.path / "weights.parquet").filter(run_id=run_id, level=level).collect()
            return network_weights(rows)
        return read_weights(RunDirectory(self.path), run_id, level)

    def _of_committed(self, table: Table, run_id: str | None = None) -> pl.DataFrame:
        if _is_export(self.path):
            file = self.path / f"{table.name}.parquet"
            return unique_rows(table, read_files(table, [file], self.problems, run_id=run_id))
        rows = read_table(RunDirectory(self.path), table, self.problems, run_id)
        committed = self.states.select("run_id", "level")
        return unique_rows(
            table, rows.join(committed, on=["run_id", "level"], how="semi", maintain_order="left")
        )


def without_weights(states: pl.DataFrame) -> set[Unit]:
    """The networks whose weights an export left out."""
    return {Unit(*key) for key in states.filter("weights_left_out").select("run_id", "level").iter_rows()}


def driver_of(path: Path) -> Holder | None:
    """Who writes into a run directory now; None where nobody does, as into an export."""
    return RunDirectory(path).holder()


def read_study(path: Path | str, plan: Plan | None = None) -> Study:
    """The study in a run directory or an export.

    Args:
        path: a run directory, also while a driver writes it, or what --export made.
        plan: what is wanted; by default what the directory's sweep.json says. The directory of a
            given plan need not exist yet.

    Raises:
        StudyError: there is no study at the path, or its sweep.json is damaged.
    """
    path = Path(path)
    if _is_export(path):
        return _read_export(path)
    directory = RunDirectory(path)
    if plan is None:
        if not directory.sweep_json.exists():
            raise StudyError(
                f"{path} is neither a run directory (no sweep.json) nor an export (no runs.parquet)"
            )
        plan = directory.read_plan()
    problems: list[str] = []
    # `runs` after `states`: a run that ends in between is then not finished in either.
    states = unique_rows(STATES, read_table(directory, STATES, problems))
    runs = _counting_runs(read_table(directory, RUNS, problems), states)
    references = read_table(directory, REFERENCES, problems)
    attempts = unique_rows(ATTEMPTS, read_table(directory, ATTEMPTS, problems)).sort("at", "attempt")
    problems += _problems_of_large_tables(directory, states)
    references = _with_repository_references(references, problems)
    committed = _committed_units(plan, states, references)
    runs = _joined_runs(directory, plan, runs, states, committed, attempts)
    joined = _joined_states(states, runs, references)
    return Study(
        path, plan.sweep, plan.profile, runs, joined, references, attempts, problems, committed=committed
    )


# --- reading files


def _is_export(path: Path) -> bool:
    return (path / "runs.parquet").exists() and not (path / "sweep.json").exists()


def _read_export(path: Path) -> Study:
    problems: list[str] = []
    runs = read_files(RUNS, [path / "runs.parquet"], problems, JOINED_RUNS)
    states = read_files(STATES, [path / "states.parquet"], problems, JOINED_STATES)
    references = read_files(REFERENCES, [path / "references.parquet"], problems)
    attempts = read_files(ATTEMPTS, [path / "attempts.parquet"], problems)
    provenance = {} if problems else pl.read_parquet_metadata(path / "runs.parquet")
    sweep, profile = provenance.get("sweep", path.name), provenance.get("profile", "unknown")
    return Study(path, sweep, profile, runs, states, references, attempts, problems)


def _problems_of_large_tables(directory: RunDirectory, states: pl.DataFrame) -> list[str]:
    """Damaged files of `steps` and `weights`, which are read only when asked for, and weights that are missing."""
    problems = [damaged_sentence(path) for path in damaged_files(directory, STEPS)]
    damaged = damaged_files(directory, WEIGHTS)
    problems += map(damaged_sentence, damaged)
    files = files_of(directory, WEIGHTS)
    names = {path.name for path in files}
    whole = [path for path in files if is_compacted(path) and path not in damaged]
    compacted = read_files(WEIGHTS, whole, problems, WEIGHTS.columns[: len(WEIGHTS.key)])
    level = ["run_id", "level"]
    expected = states.filter(~pl.col("weights_left_out").fill_null(False)).select(level)
    in_no_compacted = expected.join(compacted, on=level, how="anti", maintain_order="left")
    missing = [key for key in in_no_compacted.iter_rows() if directory.part_name(*key) not in names]
    # Weights that were compacted since their files were listed are not missing.
    if missing and not set(files) <= set(files_of(directory, WEIGHTS)):
        return _problems_of_large_tables(directory, states)
    return problems + [_missing_weights_sentence(directory, *key) for key in missing]


def _missing_weights_sentence(directory: RunDirectory, run_id: str, level: int) -> str:
    commits = directory.part(STATES, run_id, level)
    sentence = (
        f"{directory.part(WEIGHTS, run_id, level)} is missing, but level {level} of run {run_id} is committed"
    )
    if commits.exists():
        return f"{sentence}; restore it, or remove {commits} to train that level again"
    return f"{sentence}, in a compacted file; restore the weights from a copy, or train the study anew in another --out"


def read_weights(directory: RunDirectory, run_id: str, level: int) -> NetworkWeights:
    """The live weights of a committed level.

    Raises:
        StudyError: they are missing or their file is damaged.
    """
    return network_weights(read_level(directory, WEIGHTS, run_id, level))


def network_weights(rows: pl.DataFrame) -> NetworkWeights:
    """Rows of the table `weights` of one network as arrays, by layer."""
    return {
        row["layer"]: LiveWeights(
            tuple(row["shape"]), np.array(row["indices"], np.int32), np.array(row["values"], np.float64)
        )
        for row in rows.iter_rows(named=True)
    }


# --- joining


_LAST_LEVEL = pl.coalesce("levels", "level", pl.lit(0, pl.Int32))


def counting_rows(runs: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """The rows of `runs` that count.

    One written just before a kill has no committed last level and doesn't count; a diverged run's has none
    either and does.
    """
    committed = states.select("run_id", last_level="level", committed=pl.lit(True))
    return (
        runs.with_columns(last_level=_LAST_LEVEL)
        .join(committed, on=("run_id", "last_level"), how="left")
        .filter(pl.col("committed").fill_null(False) | (pl.col("outcome") == "diverged"))
        .drop("last_level", "committed")
    )


def _counting_runs(runs: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """The row of `runs` that counts for each run; of a trajectory that was extended the longest history does."""
    return (
        counting_rows(runs, states)
        .sort(_LAST_LEVEL, "finished_at")
        .unique("run_id", keep="last", maintain_order=True)
    )


def _joined_runs(
    directory: RunDirectory,
    plan: Plan,
    finished: pl.DataFrame,
    states: pl.DataFrame,
    committed: set[Unit],
    attempts: pl.DataFrame,
) -> pl.DataFrame:
    """Every planned run with its outcome and status, then finished ones that the plan left behind."""
    fields = schema_of(RUN_FIELDS)
    trainings = {run_id: job for run_id, job in plan.jobs.items() if not isinstance(job, ReferenceJob)}
    planned = pl.DataFrame([*fields_of_runs(trainings.values(), plan.sweep)], schema=fields)
    planned = planned.join(_outcomes(planned, finished), on="run_id", how="left")
    left_behind = finished.filter(~pl.col("run_id").is_in(planned["run_id"].implode()))
    runs = pl.concat([planned.select(RUNS.names), left_behind.select(RUNS.names)])
    done = states.group_by("run_id").agg(levels_done=pl.len().cast(pl.Int32))
    runs = (
        runs.join(done, on="run_id", how="left")
        .with_columns(
            pl.col("levels_done").fill_null(0),
            levels_wanted=pl.coalesce("levels", pl.lit(1, pl.Int32)),
            planned=pl.col("run_id").is_in(planned["run_id"].implode()),
        )
        .join(_statuses(directory, plan, finished, committed, attempts), on="run_id", how="left")
        .with_columns(status=pl.coalesce("status", "outcome"))
        .with_columns(
            status=pl.when((pl.col("status") == "done") & (pl.col("numerics_version") < NUMERICS_VERSION))
            .then(pl.lit("stale"))
            .otherwise("status")
        )
    )
    return _with_clusters(_with_running(directory, runs)).select(schema_of(JOINED_RUNS).names())


def _outcomes(planned: pl.DataFrame, finished: pl.DataFrame) -> pl.DataFrame:
    """The outcome columns of the runs that are finished as planned; one that is extended isn't."""
    wanted = planned.select("run_id", levels_wanted="levels")
    ended = (pl.col("outcome") == "diverged") | (pl.col("levels") >= pl.col("levels_wanted")).fill_null(True)
    return (
        finished.join(wanted, on="run_id")
        .filter(ended)
        .select("run_id", *(name for name in RUNS.names if name not in planned.columns))
    )


def _with_clusters(runs: pl.DataFrame) -> pl.DataFrame:
    parents = runs.select(parent_run_id="run_id", grandparent="parent_run_id")
    kind, own, parent = pl.col("kind"), pl.col("run_id"), pl.col("parent_run_id")
    return (
        runs.join(parents, on="parent_run_id", how="left")
        .with_columns(
            trajectory_run_id=pl.when(kind == "trajectory").then(own).when(kind == "ticket").then(parent),
            dense_run_id=pl.when(kind == "dense")
            .then(own)
            .when(kind == "trajectory")
            .then(parent)
            .otherwise("grandparent"),
        )
        .drop("grandparent")
    )


def _committed_units(plan: Plan, states: pl.DataFrame, references: pl.DataFrame) -> set[Unit]:
    """Units whose result is in the tables."""
    done = {Unit(run_id, level) for run_id, level in states.select("run_id", "level").iter_rows()}
    known = set(references.select(REFERENCES.key).iter_rows())
    for run_id, job in plan.jobs.items():
        if isinstance(job, ReferenceJob):
            done |= {unit for unit in units_of(run_id, job) if _reference_key(job, unit.level) in known}
    return done


def _reference_key(job: ReferenceJob, level: int) -> tuple:
    hamiltonian = job.hamiltonian
    parameters = hamiltonian.parameters_json
    return hamiltonian.kind, parameters, job.parity, job.method, job.bond_dimension(level)


def schedule_of(
    plan: Plan,
    study: Study,
    seconds: Callable[[Unit, Job], float] = lambda unit, job: 1.0,
    since: datetime | None = None,
    batches: Iterable[Sequence[str]] = (),
    retry_failed: bool = False,
) -> Schedule:
    """Where every unit of a plan stands, from a study's tables.

    Args:
        plan: the study's own, or a part of it.
        seconds: estimated time of a unit.
        since, retry_failed: which failures have another chance; see `failed_units`.
        batches: ids of runs that are trained together.
    """
    diverged = study.runs.filter(outcome="diverged")["run_id"].to_list()
    failed = failed_units(study.attempts, since, retry_failed)
    return Schedule(plan, seconds, study.committed, diverged, failed, batches)


def failed_units(
    attempts: pl.DataFrame, since: datetime | None = None, retry_failed: bool = False
) -> set[Unit]:
    """Units that were given up: a bug, or lost too often. Each unit's last failure decides.

    Args:
        since: start of the driver: what the machine did before it has another chance, a bug has not, since it
            would come again; None: all of them stand.
        retry_failed: whether bugs before `since` have another chance, too.
    """
    # Before tables of version 4 a bug alone was certain to end a unit.
    ended = pl.col("given_up").fill_null(pl.col("error_class") == "bug")
    if since is not None:
        retried = pl.lit(True) if retry_failed else pl.col("error_class").is_in(TRANSIENT)
        ended &= (pl.col("at") >= since) | ~retried
    last = attempts.sort("attempt").unique(["run_id", "level"], keep="last")
    return {Unit(*key) for key in last.filter(ended).select("run_id", "level").iter_rows()}


def start_after(attempts: pl.DataFrame, start: datetime) -> datetime:
    """A start, or just after the last failure before it where the clock was set back in between."""
    last = attempts["at"].max()
    return start if last is None or last < start else last + timedelta(microseconds=1)


def _statuses(
    directory: RunDirectory,
    plan: Plan,
    finished: pl.DataFrame,
    committed: set[Unit],
    attempts: pl.DataFrame,
) -> pl.DataFrame:
    """run_id, status, blocked_by and reason of every run of the plan, from the files alone."""
    holder = directory.holder()
    since = holder.first_failure if holder else None
    diverged = finished.filter(outcome="diverged")
    # Not a schedule: its order and its estimates take longer than all the rest of reading.
    ended = set(diverged["run_id"])
    failed = failed_units(attempts, since, holder is not None and holder.retry_failed)
    units, causes = unit_states(plan.prerequisites, committed, ended, failed)
    # A run stands where its first unit does that is not done.
    next_units: dict[str, Unit] = {}
    for unit, state in units.items():
        if state != "done":
            next_units.setdefault(unit.run_id, unit)
    reasons = dict(attempts.sort("at").select("run_id", "message").iter_rows())
    reasons |= dict(diverged.select("run_id", "outcome_reason").iter_rows())
    rows = []
    for run_id in plan.jobs:
        unit = next_units.get(run_id)
        status, cause = ("done", None) if unit is None else (units[unit], causes.get(unit))
        reason = reasons.get(run_id) if status in ("failed", "diverged") else None
        rows.append((run_id, status, cause, f"blocked by {cause}" if cause else reason))
    schema = dict.fromkeys(("run_id", "status", "blocked_by", "reason"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _with_running(directory: RunDirectory, runs: pl.DataFrame) -> pl.DataFrame:
    """The runs, of which those are running that are ready and have a checkpoint newer than their driver's start."""
    holder = directory.holder()
    running = _checkpointed_since(directory, holder.since.timestamp()) if holder else []
    is_ready = pl.col("status").is_in(("ready", "running"))
    status = pl.when(pl.col("run_id").is_in(running)).then(pl.lit("running")).otherwise(pl.lit("ready"))
    return runs.with_columns(status=pl.when(is_ready).then(status).otherwise("status"))


def _checkpointed_since(directory: RunDirectory, since: float) -> list[str]:
    run_ids = set()
    for checkpoint in directory.all_checkpoints():
        try:
            if checkpoint.path.stat().st_mtime >= since:
                run_ids.add(checkpoint.run_id)
        except FileNotFoundError:
            continue  # replaced while we looked
    return sorted(run_ids)


def _with_repository_references(references: pl.DataFrame, problems: list[str]) -> pl.DataFrame:
    """The study's own references and the repository's; the most trusted of a Hamiltonian first."""
    if REPOSITORY_REFERENCES.exists():
        shared = read_files(REFERENCES, [REPOSITORY_REFERENCES], problems)
        references = pl.concat([shared, references])
    # Before tables of version 3 there were ground states alone.
    references = unique_rows(REFERENCES, references.with_columns(pl.col("parity").fill_null("even")))
    references = with_gaps(with_extrapolations(references))
    order = pl.col("method").replace_strict(
        {method: rank for rank, method in enumerate(_REFERENCE_METHODS)}, default=len(_REFERENCE_METHODS)
    )
    return references.sort(
        "hamiltonian", "side", "field", "parity", order, "bond_dimension", nulls_last=False
    )


_SERIES = ["hamiltonian", "hamiltonian_parameters", "parity"]


def with_extrapolations(references: pl.DataFrame) -> pl.DataFrame:
    """References with a row for each DMRG series of at least three bond dimensions, extrapolated anew.

    Computed and not stored by the jobs, so that a series that goes on never has an old one.
    """
    single = references.filter((pl.col("method") != "dmrg") | pl.col("bond_dimension").is_not_null())
    rows = []
    for _, series in (
        single.filter(method="dmrg").sort("bond_dimension").group_by(_SERIES, maintain_order=True)
    ):
        if series.height < extrapolation.POINTS:
            continue
        energy, error = extrapolation.extrapolated_energy(
            series["truncation_error"].to_list(), series["energy"].to_list()
        )
        largest = series.row(-1, named=True)
        rows.append(
            largest
            | {
                "energy": energy,
                "energy_error": error,
                "bond_dimension": None,
                "truncation_error": None,
                "seconds": series["seconds"].sum(),
                "provenance": f"bond dimensions {', '.join(map(str, series['bond_dimension']))}, to zero discarded "
                f"weight; {largest['provenance']}",
            }
        )
    return pl.concat([single, pl.DataFrame(rows, schema=single.schema)])


def with_gaps(references: pl.DataFrame) -> pl.DataFrame:
    """References whose even rows have the gap to the odd one of the same method and bond dimension."""
    same = ["hamiltonian", "hamiltonian_parameters", "method", "bond_dimension"]
    odd = references.filter(parity="odd").select(*same, odd_energy="energy", odd_error="energy_error")
    even = pl.col("parity") == "even"
    error = (pl.col("energy_error").pow(2) + pl.col("odd_error").pow(2)).sqrt()
    return (
        references.join(odd, on=same, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(
            gap=pl.when(even).then(pl.col("odd_energy") - pl.col("energy")),
            gap_error=pl.when(even).then(error),
        )
        .select(references.columns)
    )


def trusted_references(references: pl.DataFrame) -> pl.DataFrame:
    """The one ground-state energy of each Hamiltonian that runs are compared with; exact before extrapolated.

    One bond dimension alone is none: it lies above the ground state by an unknown amount.
    """
    exact = pl.col("method") != "dmrg"
    extrapolated = pl.col("bond_dimension").is_null()
    return references.filter((pl.col("parity").fill_null("even") == "even") & (exact | extrapolated)).unique(
        ["hamiltonian", "hamiltonian_parameters"], keep="first", maintain_order=True
    )


def _joined_states(states: pl.DataFrame, runs: pl.DataFrame, references: pl.DataFrame) -> pl.DataFrame:
    of_run = runs.select(
        "run_id", *(c.name for c in _RUN_COLUMNS_OF_STATES), *(column.name for column in _CLUSTERS)
    )
    hamiltonian = ["hamiltonian", "hamiltonian_parameters"]
    best = trusted_references(references).select(
        *hamiltonian,
        reference_energy="energy",
        reference_energy_error="energy_error",
        reference_method="method",
    )
    difference = pl.col("energy") - pl.col("reference_energy")
    error = (pl.col("energy_error").pow(2) + pl.col("reference_energy_error").fill_null(0).pow(2)).sqrt()
    size = pl.col("reference_energy").abs()
    # An energy of 0 comes as 1e-16 from a diagonalisation, and nothing is small or large next to it.
    is_zero = size <= pl.max_horizontal("reference_energy_error", _ROUNDING)
    scale = pl.when(~is_zero).then(size)
    return (
        states.join(of_run, on="run_id")
        .join(best, on=hamiltonian, how="left")
        .with_columns(
            relative_error=difference / scale,
            relative_error_error=error / scale,
            error_per_spin=difference / pl.col("sites"),
            error_per_spin_error=error / pl.col("sites"),
            # The largest of a null and a number is the number, and an unknown error is not none.
            below_reference=pl.when(error.is_not_null()).then(
                -difference > pl.max_horizontal(_SIGNIFICANT * error, _ROUNDING * size)
            ),
        )
        .select(schema_of(JOINED_STATES).names())
        .sort("kind", "side", "run_id", "level")
    )
