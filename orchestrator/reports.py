"""What --plan, --status and the end of a run print."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import polars as pl
from rich.console import Console
from rich.table import Table

from nqs.config import ReferenceJob
from orchestrator.costs import CostModel
from orchestrator.plan import Plan
from orchestrator.progress import describe, duration
from orchestrator.run_directory import RunDirectory
from orchestrator.schedule import Rehearsal, Schedule, rehearse, run_states, units_of
from orchestrator.store import Study, committed_units, trusted_references

STATUSES = ("waiting", "ready", "running", "done", "diverged", "failed", "blocked", "stale")
BELOW_REFERENCE = ("run_id", "level", "energy", "energy_error", "reference_energy", "reference_method")


# --- --plan


def print_plan(
    console: Console, plan: Plan, study: Study, schedule: Schedule, costs: CostModel, slots: int
) -> None:
    """What would run, why, in which order, and for how long."""
    played = rehearse(schedule, slots)
    if not played:
        console.print(f"Nothing is missing of {plan.sweep}, profile {plan.profile}.")
        return
    by_run: dict[str, list[Rehearsal]] = defaultdict(list)
    for rehearsal in played:
        by_run[rehearsal.unit.run_id].append(rehearsal)
    columns = ("order", "run", "what", "levels", "steps", "why", "starts after", "takes")
    table = Table(*columns, title=f"{plan.sweep}, profile {plan.profile}", title_justify="left", box=None)
    for order, (run_id, units) in enumerate(by_run.items(), start=1):
        table.add_row(str(order), run_id, *_plan_row(plan, study, run_id, units))
    console.print(table)
    console.print(_plan_totals(plan, costs, played, by_run, slots), highlight=False)
    if out_of_reach := _out_of_reach(plan, study):
        console.print(missing_references_sentence(out_of_reach), highlight=False, soft_wrap=True)


def _plan_row(plan: Plan, study: Study, run_id: str, units: list[Rehearsal]) -> tuple[str, ...]:
    job = plan.jobs[run_id]
    first, last = units[0].unit.level, units[-1].unit.level
    takes, starts = sum(unit.seconds for unit in units), units[0].start
    if isinstance(job, ReferenceJob):
        bond_dimension = job.bond_dimension(last)
        levels = "" if bond_dimension is None else f"χ ≤ {bond_dimension}"
        return describe(job), levels, "", "no reference energy yet", duration(starts), duration(takes)
    levels = str(first) if first == last else f"{first}–{last}"
    steps = sum(job.steps_at(unit.unit.level) for unit in units)
    return describe(job), levels, str(steps), _why(study, run_id, first), duration(starts), duration(takes)


def _why(study: Study, run_id: str, level: int) -> str:
    run = study.runs.row(by_predicate=pl.col("run_id") == run_id, named=True)
    if run["status"] == "failed":
        return f"failed at level {level}, is tried again"
    own = [found for found in RunDirectory(study.path).checkpoints_of(run_id) if found.level == level]
    if own:
        return f"stopped in level {level} at step {own[0].step}"
    return (
        f"{run['levels_done']} of {run['levels_wanted']} levels done" if run["levels_done"] else "not started"
    )


def _plan_totals(
    plan: Plan, costs: CostModel, played: list[Rehearsal], by_run: dict[str, list[Rehearsal]], slots: int
) -> str:
    work = sum(unit.seconds for unit in played)
    end = max(unit.end for unit in played)
    sources = {costs.source(plan.jobs[run_id]) for run_id in by_run if plan.jobs[run_id].kind != "reference"}
    estimated = (
        "from measured times" if sources == {"measured"} else "from default rates, nothing measured yet"
    )
    return (
        f"{_runs_and_references(plan, by_run)} in {len(played)} units; {duration(work)} of work, about {duration(end)} on "
        f"{slots} slot{'s' if slots > 1 else ''} ({estimated})"
    )


def _runs_and_references(plan: Plan, run_ids: Iterable[str]) -> str:
    references = sum(isinstance(plan.jobs[run_id], ReferenceJob) for run_id in run_ids)
    runs = len([*run_ids]) - references
    return f"{runs} runs" + (f" and {references} reference energies" if references else "")


# --- --status


def status_data(plan: Plan, study: Study, schedule: Schedule, costs: CostModel) -> dict:
    """The status of a study as plain data, for --json and for the table alike."""
    holder = RunDirectory(study.path).holder()
    remaining = _remaining_seconds(study, schedule)
    trainings = [job for job in plan.jobs.values() if not isinstance(job, ReferenceJob)]
    columns = ("run_id", "kind", "status", "levels_done", "levels_wanted", "blocked_by", "reason")
    return {
        "sweep": plan.sweep,
        "profile": plan.profile,
        "path": str(study.path),
        "driver": holder and {"pid": holder.pid, "host": holder.host, "since": holder.since.isoformat()},
        "counts": _counts(study),
        "references": _references(plan, study),
        "remaining_seconds": sum(remaining.values()),
        "below_reference": study.states.filter("below_reference").select(BELOW_REFERENCE).to_dicts(),
        "estimate": costs.source(trainings[0]) if trainings else "default rates",
        "problems": study.problems,
        "runs": [
            run | {"remaining_seconds": remaining.get(run["run_id"], 0.0)}
            for run in study.runs.select(columns).iter_rows(named=True)
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
    counts = Counter(study.runs["status"].to_list())
    return {status: counts[status] for status in STATUSES}


def _references(plan: Plan, study: Study) -> dict[str, int | list[str]]:
    wanted = [
        unit
        for run_id, job in plan.jobs.items()
        if isinstance(job, ReferenceJob)
        for unit in units_of(run_id, job)
    ]
    known = committed_units(plan, study.states, study.references)
    return {
        "known": sum(unit in known for unit in wanted),
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
    """One row for each state that runs can have."""
    title = f"{status['sweep']}, profile {status['profile']}, {status['path']}"
    table = Table(
        "state",
        "runs",
        "levels left",
        "time left",
        "first reason",
        title=title,
        title_justify="left",
        box=None,
    )
    for state in STATUSES:
        runs = [run for run in status["runs"] if run["status"] == state]
        levels = sum(max(0, run["levels_wanted"] - run["levels_done"]) for run in runs)
        seconds = sum(run["remaining_seconds"] for run in runs)
        reason = next((run["reason"] for run in runs if run["reason"]), "")
        table.add_row(
            state,
            str(len(runs)),
            str(levels) if seconds else "",
            duration(seconds) if seconds else "",
            reason,
        )
    console.print(table)
    references = status["references"]
    console.print(f"reference energies: {references['known']} of {references['wanted']}", highlight=False)
    if references["out_of_reach"]:
        console.print(
            missing_references_sentence(references["out_of_reach"]), highlight=False, soft_wrap=True
        )
    for state in status["below_reference"]:
        console.print(_below_sentence(state), highlight=False, soft_wrap=True)
    console.print(
        f"times from {status['estimate'].replace('measured', 'measured times')}, on one slot", highlight=False
    )
    driver = status["driver"]
    console.print(
        f"running: process {driver['pid']} on {driver['host']} since {driver['since']}"
        if driver
        else "no driver runs",
        highlight=False,
    )


def _below_sentence(state: dict) -> str:
    """Why an energy below its reference is suspect: no variational energy can lie there."""
    difference = state["reference_energy"] - state["energy"]
    return (
        f"below its reference: {state['run_id']} level {state['level']}: energy {state['energy']:.10g} lies "
        f"{difference:.2g} below {state['reference_energy']:.10g} ({state['reference_method']}), more than 5 errors"
    )


# --- the end of a run


def print_summary(console: Console, study: Study, schedule: Schedule, seconds: float) -> None:
    """How a study stands: counts, and every divergence and failure with its reason."""
    counts = ", ".join(f"{count} {status}" for status, count in _counts(study).items() if count)
    if not counts:
        # A sweep of reference energies alone.
        known = sum(state == "done" for state in schedule.states.values())
        counts = f"{known} of {len(schedule.states)} reference energies"
    console.print(
        f"{study.sweep}, profile {study.profile}: {counts} (in {duration(seconds)})", highlight=False
    )
    for state in study.states.filter("below_reference").iter_rows(named=True):
        console.print(_below_sentence(state), highlight=False, soft_wrap=True)
    for run in study.runs.filter(pl.col("status").is_in(["diverged", "failed"])).iter_rows(named=True):
        blocked = study.runs.filter(blocked_by=run["run_id"]).height
        also = f"; blocks {blocked} runs" if blocked else ""
        console.print(
            f"{run['status']}: {run['run_id']}: {run['reason']}{also}", highlight=False, soft_wrap=True
        )
    failed = [
        run_id
        for run_id, job in schedule.jobs.items()
        if isinstance(job, ReferenceJob) and run_states(schedule, run_id)[0] == "failed"
    ]
    for run_id in failed:
        message = study.attempts.filter(run_id=run_id)["message"].to_list()[-1]
        console.print(f"failed: {run_id}: {message}", highlight=False, soft_wrap=True)
