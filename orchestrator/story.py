"""`--explain RUN_ID`: a run's whole story, from the files alone."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nqs.config import DenseRun, ReferenceJob, TicketRun, TrajectoryRun
from nqs.identity import NUMERICS_VERSION
from orchestrator.plan import Job
from orchestrator.progress import describe, duration
from orchestrator.provenance import moment
from orchestrator.reports import again_sentence
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.schedule import Schedule, run_states
from orchestrator.standing import Standing
from orchestrator.tables import REFERENCES, RUN_FIELDS, TABLES, Column
from orchestrator.units import Unit, prerequisite, units_of


def _meanings(columns: Iterable[Column]) -> dict[str, str]:
    return {c.name: c.description + (f", {c.unit}" if c.unit else "") for c in columns}


_FIELDS = _meanings(RUN_FIELDS)
_REFERENCE_FIELDS = _meanings(REFERENCES.columns)
_LEVEL_COLUMNS = (
    "level",
    "remaining",
    "energy",
    "energy_error",
    "relative_error",
    "relative_error_error",
    "steps",
    "wall_seconds",
)
_OUTCOME_COLUMNS = (
    "outcome",
    "batch",
    "numerics_version",
    "code_version",
    "device",
    "wall_seconds",
    "finished_at",
)
_ATTEMPT_COLUMNS = ("level", "attempt", "error_class", "message", "device", "at")
# What a person reads of a list; --json has all of it.
_SHOWN = 8
# Characters of a line, where no terminal says how many it has; of texts that are not cut there, a table's.
_TEXT_WIDTH = 110


def find_run(standing: Standing, beginning: str) -> str:
    """The id of the one run, of the sweep or left behind in the directory, that begins so.

    Raises:
        StudyError: none does, or several do.
    """
    known = [*standing.plan.jobs, *standing.left_behind]
    found = [run_id for run_id in known if run_id.startswith(beginning)]
    if beginning in found or len(found) == 1:
        return beginning if beginning in found else found[0]
    if not found:
        raise StudyError(
            f"--explain {beginning}: no run of {standing.name} begins so; --plan and --status --json name them"
        )
    some = ", ".join(found[:4]) + (", …" if len(found) > 4 else "")
    raise StudyError(f"--explain {beginning}: {len(found)} runs begin so: {some}; give more of the id")


def story_data(standing: Standing, run_id: str) -> dict:
    """All that is known of a run or reference energy, as plain data, for --json and for the text alike."""
    study, job = standing.study, standing.plan.jobs.get(run_id)
    directory = RunDirectory(study.path)
    row = next(study.runs.filter(run_id=run_id).iter_rows(named=True), None)
    parents, children = _family(standing, run_id, job)
    status, sentence = _state(standing, run_id, job, row)
    outcome = {name: row[name] for name in _OUTCOME_COLUMNS} if row and row["outcome"] else None
    return {
        "run_id": run_id,
        "what": describe(job) if job else "a run that the sweep no longer asks for",
        "why": _why(standing, job, parents, children),
        "status": status,
        "state": sentence,
        "blocked_by": row["blocked_by"] if row else None,
        "fields": _fields(job, row),
        "parents": parents,
        "children": children,
        "outcome": outcome and outcome | {"finished_at": outcome["finished_at"].isoformat()},
        "levels": study.states.filter(run_id=run_id).sort("level").select(_LEVEL_COLUMNS).to_dicts(),
        "checkpoints": [
            {
                "level": found.level,
                "step": found.step,
                "whole": found.read() is not None,
                "path": str(found.path),
            }
            for found in directory.checkpoints_of(run_id)
        ],
        "attempts": [
            attempt | {"at": attempt["at"].isoformat()}
            for attempt in study.attempts.filter(run_id=run_id).select(_ATTEMPT_COLUMNS).to_dicts()
        ],
        "log": directory.log_tail(run_id),
        "files": [str(path) for path in _files(directory, run_id)],
    }


def _fields(job: Job | None, row: dict | None) -> dict:
    """What decides a run's results, by the names of the tables' columns."""
    if isinstance(job, ReferenceJob):
        own = {
            "method": job.method,
            "parity": job.parity,
            "levels": job.levels if job.method == "dmrg" else None,
        }
        return {name: value for name, value in (job.hamiltonian.columns | own).items() if value is not None}
    if row is None:
        return {}
    return {name: row[name] for name in _FIELDS if name != "run_id" and row[name] is not None}


def _family(standing: Standing, run_id: str, job: Job | None) -> tuple[list[dict], list[dict]]:
    """Parents, the nearest first, and the runs that start from this one, with their states."""
    statuses = dict(standing.study.runs.select("run_id", "status").iter_rows())

    def entry(other: str, other_job: Job) -> dict:
        return {"run_id": other, "what": describe(other_job), "status": statuses.get(other)}

    parents, jobs = [], standing.plan.jobs
    parent = getattr(job, "parent_run_id", None)
    while parent is not None:
        parents.append(entry(parent, jobs[parent]))
        parent = jobs[parent].parent_run_id
    children = [
        entry(other, other_job)
        for other, other_job in jobs.items()
        if getattr(other_job, "parent_run_id", None) == run_id
    ]
    return parents, children


def _why(standing: Standing, job: Job | None, parents: list[dict], children: list[dict]) -> str:
    asked = f"asked for by {standing.name}"
    match job:
        case None:
            return f"not asked for by {standing.name}, as the sweep is now; kept, and never deleted"
        case ReferenceJob():
            return f"{asked}: the energy that networks of this Hamiltonian are compared with"
        case DenseRun():
            starts = f"where {len(children)} trajector{'y starts' if len(children) == 1 else 'ies start'}"
            return f"{asked}: {starts if children else 'a dense network alone'}"
        case TrajectoryRun():
            tickets = (
                f", with {len(children)} ticket{'s' * (len(children) != 1)} at its levels" if children else ""
            )
            return f"{asked}: prunes dense run {parents[0]['run_id']} in {job.levels} levels{tickets}"
        case TicketRun(variant="regrown"):
            return (
                f"{asked}: continues the branch that turned at level {job.turned_at} of {parents[0]['run_id']} "
                f"under the mask of level {job.level}"
            )
        case TicketRun():
            what = "density" if job.variant == "init_rand" else "mask"
            return (
                f"{asked}: one training alone with the {what} of level {job.level} of {parents[0]['run_id']}"
            )


def _state(standing: Standing, run_id: str, job: Job | None, row: dict | None) -> tuple[str, str]:
    """A run's state in a word, and in a sentence what it waits for."""
    if job is None:
        return "left behind", row["outcome"] if row else "begun and not finished"
    schedule = standing.schedule
    status, cause = run_states(schedule, run_id)
    status = row["status"] if row else status
    unit = next((unit for unit in units_of(run_id, job) if schedule.state(unit) != "done"), None)
    match status:
        case "blocked":
            return status, f"blocked by {cause}: {_reason(standing, cause)}"
        case "diverged" | "failed":
            again = f"; {again_sentence(standing, [run_id])}" if status == "failed" else ""
            return status, f"at level {unit.level}: {_reason(standing, run_id)}{again}"
        case "stale":
            return (
                status,
                f"done by numerics version {row['numerics_version']}; this program has {NUMERICS_VERSION}",
            )
        case "waiting" | "ready" | "running":
            return status, _next_sentence(standing, schedule, unit, job, status)
    return status, "all its levels are committed"


def _next_sentence(standing: Standing, schedule: Schedule, unit: Unit, job: Job, status: str) -> str:
    before = prerequisite(unit, job)
    step = standing.checkpoints.get(unit)
    at = f"level {unit.level}" + ("" if step is None else f" from step {step}")
    if status == "running":
        return f"{at} is being trained"
    if before is not None and schedule.state(before) != "done":
        return f"{at} waits for level {before.level} of {before.run_id}"
    return f"{at} can start once a slot is free"


def _reason(standing: Standing, run_id: str) -> str:
    rows = standing.study.runs.filter(run_id=run_id)["reason"].to_list()
    messages = standing.study.attempts.filter(run_id=run_id)["message"].to_list()
    return next(filter(None, rows + messages[-1:]), "no reason is recorded")


def _files(directory: RunDirectory, run_id: str) -> list[Path]:
    parts = [path for table in TABLES.values() for path in directory.table(table).glob(f"{run_id}.*")]
    checkpoints = [found.path for found in directory.checkpoints_of(run_id)]
    return sorted(path for path in (*parts, *checkpoints, directory.log(run_id)) if path.exists())


def story_text(path: Path, run_id: str) -> str:
    """What --explain prints of a run, for other programs: as the plan in the run directory asks for it.

    Raises:
        StudyError: there is no run directory at the path, its plan is damaged, or it has no such run.
    """
    standing = Standing.of(RunDirectory(path).read_plan(), path)
    console = Console(file=StringIO(), width=_TEXT_WIDTH)
    print_story(console, story_data(standing, find_run(standing, run_id)))
    return console.file.getvalue()


def print_story(console: Console, story: dict) -> None:
    """`story_data` for a person."""

    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    def listed(texts: list[str]) -> None:
        for text in texts[:_SHOWN]:
            line(f"  {text}")
        if len(texts) > _SHOWN:
            line(f"  and {len(texts) - _SHOWN} more (--json has all)")

    line(f"{story['run_id']}: {story['what']}")
    line(story["why"])
    line(f"{story['status']}: {story['state']}")
    for title in ("parents", "children"):
        if story[title]:
            line(f"\nits {title}")
            listed([f"{other['run_id']}: {other['what']}, {other['status']}" for other in story[title]])
    if story["fields"]:
        line("\nwhat it is")
        described = _REFERENCE_FIELDS if story["run_id"].startswith("e") else _FIELDS
        for name, value in story["fields"].items():
            line(f"  {name} = {value}  ({described.get(name, 'bond dimensions in series')})")
    if outcome := story["outcome"]:
        line(
            f"\n{outcome['outcome']} on {outcome['device']} at {moment(outcome['finished_at'])}, in a batch of "
            f"{outcome['batch']}, {duration(outcome['wall_seconds'] or 0)} of training and measuring, code "
            f"{outcome['code_version']}, numerics version {outcome['numerics_version']}"
        )
    if story["levels"]:
        console.print(_levels_table(story["levels"]))
    for found in story["checkpoints"]:
        line(
            f"checkpoint of level {found['level']} at step {found['step']}{'' if found['whole'] else ', damaged'}"
        )
    for attempt in story["attempts"]:
        line(
            f"failure {attempt['attempt']} at level {attempt['level']}, {moment(attempt['at'])}, on {attempt['device']}: "
            f"{attempt['error_class']}: {attempt['message']}"
        )
    if story["log"]:
        line("\nits log ends with")
        for text in story["log"]:
            line(f"  {text}")
    if story["files"]:
        line("\nits files")
        listed(story["files"])


def _levels_table(levels: list[dict]) -> Table:
    table = Table("level", "weights", "energy", "relative error", "steps", "took", box=None)
    for level in levels:
        table.add_row(
            str(level["level"]),
            str(level["remaining"]),
            _with_error(level["energy"], level["energy_error"], ".8g"),
            _with_error(level["relative_error"], level["relative_error_error"], ".2e"),
            str(level["steps"]),
            "" if level["wall_seconds"] is None else duration(level["wall_seconds"]),
        )
    return table


def _with_error(value: float | None, error: float | None, form: str) -> str:
    if value is None:
        return ""
    return f"{value:{form}}" + ("" if error is None else f" ± {error:.1g}")
