"""What --plan, --status and the end of a run say: plain data, and the same as text."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sized
from contextlib import suppress
from datetime import datetime
from io import StringIO

import polars as pl
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nqs.config import ReferenceJob
from orchestrator.costs import Source
from orchestrator.elsewhere import found_elsewhere
from orchestrator.plan import Job, Plan
from orchestrator.progress import describe, duration
from orchestrator.provenance import moment
from orchestrator.run_directory import RunDirectory
from orchestrator.schedule import Rehearsal, Schedule, rehearse, run_states
from orchestrator.standing import Standing
from orchestrator.store import Study, failed_units, trusted_references
from orchestrator.units import Unit, units_of

STATUSES = ("waiting", "ready", "running", "done", "diverged", "failed", "blocked", "stale")
BELOW_REFERENCE = ("run_id", "level", "energy", "energy_error", "reference_energy", "reference_method")
# What a person reads on a terminal; a pipe and --json have all.
_PLAN_ROWS = 40
_SOURCES: dict[Source, str] = {
    "measured": "measured times",
    "other studies": "times of other studies on this machine",
    "default rates": "default rates",
}
_REFRESH_SECONDS = 3.0


# --- --plan


def plan_data(standing: Standing, slots: int, slots_are: str, limit: int | None = None) -> dict:
    """What would run, why, in which order, and for how long, as plain data, for --json and for the table alike.

    Args:
        slots: that are counted with.
        slots_are: how a sentence calls them.
        limit: no more than so many runs.
    """
    plan, study = standing.plan, standing.study
    begun = standing if limit is None else standing.limited(limit, slots)
    played = rehearse(begun.schedule, slots)
    by_run: dict[str, list[Rehearsal]] = defaultdict(list)
    for rehearsal in played:
        by_run[rehearsal.unit.run_id].append(rehearsal)
    reasons = _Reasons(standing)
    return {
        "sweep": plan.sweep,
        "profile": plan.profile,
        "path": str(study.path),
        "only": study.only,
        "limit": limit,
        "slots": slots,
        "slots_are": slots_are,
        "units": len(played),
        "device_hours": sum(unit.seconds for unit in played) / 3600,
        "seconds": max((unit.end for unit in played), default=0.0),
        "estimate": _estimate(standing),
        "runs": [
            {"order": order, "run_id": run_id, **_planned_run(plan.jobs[run_id], units), **reasons(units[0])}
            for order, (run_id, units) in enumerate(by_run.items(), start=1)
        ],
        "failed": standing.failed_runs,
        "stale": sorted(reasons.stale),
        "left_behind": standing.left_behind,
        "references_out_of_reach": _out_of_reach(standing.chosen, study),
        "elsewhere": [
            {"path": str(each.path), "runs": each.runs, "seconds": each.seconds, "sentence": each.sentence}
            for each in found_elsewhere(standing)
        ],
        "problems": study.problems,
    }


def _planned_run(job: Job, units: list[Rehearsal]) -> dict:
    first, last = units[0].unit.level, units[-1].unit.level
    is_reference = isinstance(job, ReferenceJob)
    return {
        "kind": job.kind,
        "what": describe(job),
        "first_level": first,
        "last_level": last,
        "bond_dimension": job.bond_dimension(last) if is_reference else None,
        "steps": None if is_reference else sum(job.steps_at(unit.unit.level) for unit in units),
        "starts_after_seconds": units[0].start,
        "takes_seconds": sum(unit.seconds for unit in units),
    }


class _Reasons:
    """Why a run would run: one word for programs, and a sentence."""

    def __init__(self, standing: Standing):
        self._standing = standing
        self._before = RunDirectory(standing.study.path).stored_levels()
        self._failed = failed_units(standing.study.attempts)
        columns = ("run_id", "levels_done", "levels_wanted", "parent_run_id", "status")
        self._runs = {run["run_id"]: run for run in standing.study.runs.select(columns).to_dicts()}
        self.stale = {run_id for run_id, run in self._runs.items() if run["status"] == "stale"}

    def __call__(self, rehearsal: Rehearsal) -> dict[str, str]:
        reason, why = self._reason(rehearsal.unit)
        parent = self._runs.get(rehearsal.unit.run_id, {}).get("parent_run_id")
        return {"reason": reason, "why": f"{why}; its parent is stale" if parent in self.stale else why}

    def _reason(self, unit: Unit) -> tuple[str, str]:
        run_id, level = unit
        if unit in self._failed:
            return "failed", f"failed before at level {level}, is tried again"
        if unit in self._standing.checkpoints:
            return "stopped", f"stopped in level {level} at step {self._standing.checkpoints[unit]}"
        if (run := self._runs.get(run_id)) is None:
            return "reference", "no reference energy yet"
        done, wanted, before = run["levels_done"], run["levels_wanted"], self._before.get(run_id)
        if before is not None and done >= before:
            return "extended", f"extended from {before} to {wanted} levels"
        if done:
            return "stopped", f"{done} of {wanted} levels done"
        if self._before and run_id not in self._before:
            return "edited", "new since the sweep was edited"
        return "new", "not started"


def print_plan(console: Console, plan: dict) -> None:
    """`plan_data` for a person; on a terminal the first runs of a long one."""
    if not plan["runs"]:
        can_run = "can run" if plan["failed"] else "is missing"
        _line(console, f"Nothing {can_run} of {study_name(plan)}.")
    else:
        shown = plan["runs"][:_PLAN_ROWS] if console.is_terminal else plan["runs"]
        columns = ("order", "run", "what", "levels", "steps", "why", "starts after", "takes")
        rows = [(str(run["order"]), run["run_id"], run["what"], *_plan_cells(run)) for run in shown]
        _print_rows(console, study_name(plan), columns, rows)
        if len(shown) < len(plan["runs"]):
            _line(
                console, f"the first {len(shown)} of {len(plan['runs'])} runs; --plan --json has all of them"
            )
        _line(console, _plan_totals(plan))
    if failed := plan["failed"]:
        _line(console, f"{left_out_sentence(failed)}: {some_of(failed)}")
    if stale := plan["stale"]:
        _line(
            console,
            f"stale, trained by an older numerics version: {counted(stale, 'run')}, kept as done: {some_of(stale)}; "
            "a new --out trains them anew",
        )
    for each in plan["elsewhere"]:
        _line(console, each["sentence"])
    _print_left_behind(console, plan["left_behind"])
    if out_of_reach := plan["references_out_of_reach"]:
        _line(console, missing_references_sentence(out_of_reach))


def _print_rows(console: Console, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if console.is_terminal:
        table = Table(*columns, title=title, title_justify="left", box=None)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
        return
    # rich takes half a millisecond a row.
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in (columns, *rows))
    console.file.write("\n".join([title, *lines, ""]))


def _plan_cells(run: dict) -> tuple[str, ...]:
    levels = (
        str(run["first_level"])
        if run["first_level"] == run["last_level"]
        else f"{run['first_level']}–{run['last_level']}"
    )
    if run["kind"] == "reference":
        levels = f"χ ≤ {run['bond_dimension']}" if run["bond_dimension"] else ""
    steps = "" if run["steps"] is None else str(run["steps"])
    times = duration(run["starts_after_seconds"]), duration(run["takes_seconds"])
    return levels, steps, run["why"], *times


def _plan_totals(plan: dict) -> str:
    nothing = (
        ", nothing measured yet; a slot that shares its core takes longer"
        if plan["estimate"] == "default rates"
        else ""
    )
    estimated = f"from {_SOURCES[plan['estimate']]}{nothing}"
    hours = plan["device_hours"]
    trainings = [run for run in plan["runs"] if run["kind"] != "reference"]
    references = len(plan["runs"]) - len(trainings)
    runs = counted(trainings, "run") + (
        f" and {references} reference energ{'y' if references == 1 else 'ies'}" if references else ""
    )
    return (
        f"{runs} in {plan['units']} units; {hours:.2g} device-hours ({duration(hours * 3600)}) of "
        f"work, about {duration(plan['seconds'])} on {plan['slots_are']} ({estimated})"
    )


# --- what several reports say


def _estimate(standing: Standing) -> Source | None:
    """What estimated times rest on, the same for all trainings; None where nothing is left to estimate."""
    if not standing.schedule.seconds:
        return None
    trainings = (job for job in standing.chosen.jobs.values() if not isinstance(job, ReferenceJob))
    return next(map(standing.costs.source, trainings), "default rates")


def study_name(report: dict) -> str:
    """The study and the part of it that was asked for."""
    where = f", where {report['only']}" if report["only"] else ""
    return f"{report['sweep']}, profile {report['profile']}{where}"


def left_out_sentence(failed: list[str]) -> str:
    """What becomes of runs that failed by a bug in an earlier start."""
    return f"{counted(failed, 'run')} failed before; once mended, --retry-failed tries {_them(failed)} again"


def again_sentence(standing: Standing, failed: list[str]) -> str:
    """Which command tries failed runs again."""
    lasting = set(standing.lasting_failures).intersection(failed)
    how = "once mended, --retry-failed tries" if lasting else "the same command tries"
    return f"{how} {_them(failed)} again"


def counted(items: Sized, name: str) -> str:
    """How many there are, as `1 run` or `2 runs`."""
    return f"{len(items)} {name}{'s' * (len(items) != 1)}"


def _them(run_ids: list[str]) -> str:
    return "it" if len(run_ids) == 1 else "them"


def _print_left_behind(console: Console, run_ids: list[str]) -> None:
    if run_ids:
        _line(
            console,
            f"in the directory, and no longer asked for by the sweep: {counted(run_ids, 'run')}, kept and never "
            f"deleted: {some_of(run_ids)}",
        )


def some_of(run_ids: list[str], most: int = 3) -> str:
    """The first few ids, and how many there are besides."""
    more = f" and {len(run_ids) - most} more (--json has all)" if len(run_ids) > most else ""
    return ", ".join(run_ids[:most]) + more


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


# --- --status


def status_data(standing: Standing) -> dict:
    """The status of a study as plain data, for --json and for the table alike."""
    plan, study = standing.chosen, standing.study
    holder = RunDirectory(study.path).holder()
    remaining = _remaining_seconds(study, standing.schedule)
    columns = ("run_id", "kind", "status", "levels_done", "levels_wanted", "blocked_by", "reason")
    return {
        "sweep": plan.sweep,
        "profile": plan.profile,
        "path": str(study.path),
        "only": study.only,
        "driver": holder and {"pid": holder.pid, "host": holder.host, "since": holder.since.isoformat()},
        "counts": _counts(study),
        "references": _references(plan, study),
        "remaining_seconds": sum(remaining.values()),
        "below_reference": study.states.filter("below_reference").select(BELOW_REFERENCE).to_dicts(),
        "estimate": _estimate(standing),
        "failed_references": _failed_references(standing.schedule, study),
        "need_retry_failed": standing.lasting_failures,
        "left_behind": standing.left_behind,
        "problems": study.problems,
        "runs": [
            run | {"remaining_seconds": remaining.get(run["run_id"], 0.0)}
            for run in study.runs.filter("planned").select(columns).iter_rows(named=True)
        ],
    }


def _remaining_seconds(study: Study, schedule: Schedule) -> dict[str, float]:
    """Time that each run and reference energy still needs; none for what a divergence ended."""
    diverged = set(study.runs.filter(status="diverged")["run_id"])
    remaining: dict[str, float] = defaultdict(float)
    for unit, state in schedule.states.items():
        if state not in ("done", "diverged") and schedule.blocked_by(unit) not in diverged:
            remaining[unit.run_id] += schedule.seconds[unit]
    return remaining


def _counts(study: Study) -> dict[str, int]:
    counts = Counter(study.runs.filter("planned")["status"].to_list())
    return {status: counts[status] for status in STATUSES}


def _references(plan: Plan, study: Study) -> dict[str, int | list[str]]:
    wanted = [
        unit
        for run_id, job in plan.jobs.items()
        if isinstance(job, ReferenceJob)
        for unit in units_of(run_id, job)
    ]
    return {
        "known": sum(unit in study.committed for unit in wanted),
        "wanted": len(wanted),
        "out_of_reach": _out_of_reach(plan, study),
    }


def _out_of_reach(plan: Plan, study: Study) -> list[str]:
    """Hamiltonians of runs that neither a job of the plan nor a known reference will give an energy."""
    known = set(
        trusted_references(study.references).select("hamiltonian", "hamiltonian_parameters").iter_rows()
    )
    jobs = plan.jobs.values()
    computed = {job.hamiltonian for job in jobs if isinstance(job, ReferenceJob)}
    trained = dict.fromkeys(job.dense.hamiltonian for job in jobs if not isinstance(job, ReferenceJob))
    return [
        hamiltonian.label
        for hamiltonian in trained
        if hamiltonian not in computed and (hamiltonian.kind, hamiltonian.parameters_json) not in known
    ]


def missing_references_sentence(labels: list[str]) -> str:
    """What is said where a lattice is too large for exact diagonalisation and has no reference."""
    return (
        f"no reference energy for {', '.join(labels)}: too large to diagonalise, and not in "
        "data/references.parquet; add it to sweeps/references.py, which computes it by DMRG"
    )


def print_status(console: Console, status: dict) -> None:
    """One row for each state that runs can have, and what a person should know besides."""
    title = f"{study_name(status)}, {status['path']}"
    columns = ("state", "runs", "levels left", "time left", "first reason")
    table = Table(*columns, title=title, title_justify="left", box=None)
    for state in STATUSES:
        runs = [run for run in status["runs"] if run["status"] == state]
        levels = sum(max(0, run["levels_wanted"] - run["levels_done"]) for run in runs)
        seconds = sum(run["remaining_seconds"] for run in runs)
        reason = next((run["reason"] for run in runs if run["reason"]), "")
        left = (str(levels), duration(seconds)) if seconds else ("", "")
        table.add_row(state, str(len(runs)), *left, escape(reason))
    console.print(table)
    references = status["references"]
    _line(console, f"reference energies: {references['known']} of {references['wanted']}")
    if references["out_of_reach"]:
        _line(console, missing_references_sentence(references["out_of_reach"]))
    for state in status["below_reference"]:
        _line(console, _below_sentence(state))
    if failed := status["need_retry_failed"]:
        _line(console, f"{left_out_sentence(failed)}; --explain {failed[0]} tells more")
    _print_left_behind(console, status["left_behind"])
    if status["estimate"]:
        _line(console, f"estimated from {_SOURCES[status['estimate']]}, on one slot")
    driver = status["driver"]
    _line(
        console,
        f"running: process {driver['pid']} on {driver['host']} since {moment(driver['since'])}"
        if driver
        else "no driver runs",
    )


def watch_status(console: Console, read: Callable[[], dict]) -> None:
    """Show the status anew every few seconds, until interrupted.

    Args:
        read: the status as it is now; its time is at most a tenth of the whole.
    """
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            started = time.monotonic()
            page = Console(width=console.width, file=StringIO())
            print_status(page, read())
            page.print(
                f"{datetime.now():%H:%M:%S}, refreshed every few seconds; Ctrl-C ends it", highlight=False
            )
            live.update(Text(page.file.getvalue()), refresh=True)
            time.sleep(max(_REFRESH_SECONDS, 9 * (time.monotonic() - started)))


def _below_sentence(state: dict) -> str:
    """Why an energy below its reference is suspect: no variational energy can lie there."""
    difference = state["reference_energy"] - state["energy"]
    return (
        f"below its reference: {state['run_id']} level {state['level']}: energy {state['energy']:.10g} lies "
        f"{difference:.2g} below {state['reference_energy']:.10g} ({state['reference_method']}), more than 5 errors"
    )


# --- the end of a run


def print_summary(console: Console, standing: Standing, seconds: float) -> None:
    """How a study stands: counts, and every divergence and failure with its reason."""
    study, schedule = standing.study, standing.schedule
    counts = ", ".join(f"{count} {status}" for status, count in _counts(study).items() if count)
    if not counts:
        # A sweep of reference energies alone.
        known = sum(state == "done" for state in schedule.states.values())
        counts = f"{known} of {len(schedule.states)} reference energies"
    _line(console, f"{standing.name}: {counts} (in {duration(seconds)})")
    for state in study.states.filter("below_reference").iter_rows(named=True):
        _line(console, _below_sentence(state))
    for run in study.runs.filter(pl.col("status").is_in(["diverged", "failed"])).iter_rows(named=True):
        blocked = study.runs.filter(blocked_by=run["run_id"])["run_id"].to_list()
        also = f"; blocks {counted(blocked, 'run')}" if blocked else ""
        _line(console, f"{run['status']}: {run['run_id']}: {run['reason']}{also}")
    for failed in _failed_references(schedule, study):
        _line(console, f"failed: {failed['run_id']}: {failed['reason']}")
    if failed := standing.failed_runs:
        _line(console, f"{again_sentence(standing, failed)}; --explain {failed[0]} tells more")


def _failed_references(schedule: Schedule, study: Study) -> list[dict]:
    """Reference energies that were given up, each with its last message."""
    messages = dict(study.attempts.select("run_id", "message").iter_rows())
    return [
        {"run_id": run_id, "reason": messages[run_id]}
        for run_id, job in schedule.jobs.items()
        if isinstance(job, ReferenceJob) and run_states(schedule, run_id)[0] == "failed"
    ]
