"""What is asked of a study, and how that stands: the part that --only and --limit leave of it, read and scheduled."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path

import polars as pl

from nqs.config import ReferenceJob, TicketRun, TrajectoryRun
from orchestrator.batches import Batch, ended_runs, started_batches
from orchestrator.costs import CostModel
from orchestrator.plan import Job, Plan
from orchestrator.rates import remembered
from orchestrator.run_directory import RunDirectory
from orchestrator.schedule import Schedule, rehearse
from orchestrator.selection import Selection, SelectionError, reference_fields
from orchestrator.store import Study, failed_units, read_study, schedule_of, start_after, without_weights
from orchestrator.tables import RUN_FIELDS
from orchestrator.units import Unit, given_of, units_of


@dataclass(frozen=True)
class Standing:
    """A study and the part of it that is asked for.

    Attributes:
        plan: all that the sweep asks for.
        chosen: the part of it that is asked for now.
        study: what is there of that part; without a selection also finished runs that the plan left behind.
        learn_costs: makes `costs`, once.
        checkpoints: the newest step of each unit that has a checkpoint.
        left_behind: ids in the directory that the plan does not ask for, chosen or not.
        whole: the study with all its runs.
        since: failures that do not last have another chance if they were before this time; None: none has.
        retry_failed: those that last as well.
        batches: ids of chosen runs that are trained together.
        whole_batches: those of the whole plan that they are parts of.
    """

    plan: Plan
    chosen: Plan
    study: Study
    learn_costs: Callable[[], CostModel]
    checkpoints: dict[Unit, int]
    left_behind: list[str]
    whole: Study
    since: datetime | None
    retry_failed: bool
    batches: Sequence[Batch] = ()
    whole_batches: Sequence[Batch] = ()

    @classmethod
    def of(
        cls,
        plan: Plan,
        path: Path,
        only: Selection | None = None,
        since: datetime | None = None,
        retry_failed: bool = False,
    ) -> Standing:
        """Read a study, whose directory need not exist yet.

        Raises:
            SelectionError: no run is chosen.
            StudyError: as `read_study`.
        """
        study = read_study(path, plan)
        learn_costs = cache(lambda: CostModel.of(plan, study.states, study.runs, remembered()))
        steps = RunDirectory(path).newest_steps()
        checkpoints = {Unit(*unit): step for unit, step in steps.items()}
        there = {unit.run_id for unit in checkpoints} | set(study.runs["run_id"])
        left_behind = sorted(there - set(plan.jobs))
        if since is not None:
            since = start_after(study.attempts, since)
        chosen, whole = plan, study
        if only is not None:
            chosen, study = _part(plan, study, _chosen_ids(only, plan, study))
            study = replace(study, only=only.text)
        return cls(plan, chosen, study, learn_costs, checkpoints, left_behind, whole, since, retry_failed)

    @property
    def costs(self) -> CostModel:
        """Learned from the whole study, when first asked for: a finished one has nothing to estimate."""
        return self.learn_costs()

    @cached_property
    def schedule(self) -> Schedule:
        """Of the chosen part; made when first asked for, since it takes a second for 10⁴ runs."""
        return schedule_of(
            self.chosen,
            self.study,
            lambda unit, job: self.costs.seconds(unit, job),
            self.since,
            self.batches,
            self.retry_failed,
        )

    @property
    def started(self) -> list[Batch]:
        """Recorded batches of the whole plan that stay together.

        Raises:
            StudyError: the record is damaged.
        """
        return started_batches(RunDirectory(self.study.path), self.whole)

    @property
    def ended(self) -> frozenset[str]:
        """Runs of the whole plan that have nothing left to train."""
        return ended_runs(self.whole)

    @property
    def name(self) -> str:
        """The study and what is asked of it, as sentences call it."""
        where = f", where {self.study.only}" if self.study.only else ""
        return f"{self.plan.sweep}, profile {self.plan.profile}{where}"

    @property
    def missing_runs(self) -> list[str]:
        """Runs and reference energies that are not done and can still run."""
        return list(dict.fromkeys(unit.run_id for unit in self.schedule.missing))

    @property
    def failed_runs(self) -> list[str]:
        """Runs and reference energies that were given up."""
        states = self.schedule.states
        return list(dict.fromkeys(unit.run_id for unit, state in states.items() if state == "failed"))

    @property
    def lasting_failures(self) -> list[str]:
        """Those of them that only --retry-failed tries again."""
        lasting = {
            unit.run_id for unit in failed_units(self.study.attempts, datetime.max.replace(tzinfo=UTC))
        }
        return [run_id for run_id in self.failed_runs if run_id in lasting]

    @property
    def problems(self) -> list[str]:
        """A sentence for each damaged file of what is chosen, and for networks that missing runs start from but an
        export left out."""
        left_out = without_weights(self.study.states)
        # Most studies have none, and asking for what is missing makes the schedule.
        missing = self.schedule.missing if left_out else ()
        given = given_of(left_out, missing, self.chosen.jobs)
        lacking = {unit.run_id: min(networks) for unit, networks in given.items()}
        problems = list(self.study.problems)
        if lacking:
            (run_id, first), *_ = lacking.items()
            problems.append(
                f"{self.study.path}: {len(lacking)} of the missing runs start from networks whose weights an export "
                f"left out, {run_id} from level {first.level} of {first.run_id}; --merge the directory that was "
                "exported, or choose other runs with --only"
            )
        return problems

    def batched(self, batches: Sequence[Batch]) -> Standing:
        """With the chosen members of each batch trained together."""
        # Those of the whole plan, so that a batch that is chosen whole is the one that the whole study has.
        return replace(self, batches=_within(batches, self.chosen.jobs), whole_batches=batches)

    @property
    def other_batches(self) -> list[Batch]:
        """What the batches that are asked for leave of those of the whole plan."""
        asked = {run_id for batch in self.batches for run_id in batch}
        return _within(self.whole_batches, set(self.plan.jobs) - asked)

    def limited(self, runs: int, slots: int) -> Standing:
        """With no more than so many runs to do: the first that so many slots would begin."""
        order = dict.fromkeys(each.unit.run_id for each in rehearse(self.schedule, slots))
        begun = set([*order][:runs])
        parents = {parent for run_id in begun for parent in self._parents(run_id)} - begun
        jobs = {
            run_id: job if run_id in begun else self._as_far_as_done(run_id, job)
            for run_id, job in self.chosen.jobs.items()
            if run_id in begun or run_id in parents
        }
        chosen = replace(self.chosen, jobs=jobs)
        return replace(self, chosen=chosen, batches=_within(self.batches, begun))

    def _parents(self, run_id: str) -> Iterator[str]:
        yield from _sparser_tickets(self.chosen.jobs[run_id])
        while (parent := getattr(self.chosen.jobs[run_id], "parent_run_id", None)) is not None:
            yield (run_id := parent)

    def _as_far_as_done(self, run_id: str, job: Job) -> Job:
        """A parent that is not to go on: the number of its levels is not part of what it is."""
        done = [unit.level for unit in units_of(run_id, job) if self.schedule.state(unit) == "done"]
        return job.model_copy(update={"levels": done[-1]}) if isinstance(job, TrajectoryRun) else job


def _sparser_tickets(job: Job | None) -> Iterator[str]:
    """The tickets that a regrown one goes on from, back to where its branch turned."""
    while isinstance(job, TicketRun) and (job := job.sparser) is not None:
        yield job.run_id


def _within(batches: Sequence[Batch], run_ids: Container[str]) -> list[Batch]:
    """The members of each batch that are among the given runs."""
    parts = (tuple(run_id for run_id in batch if run_id in run_ids) for batch in batches)
    return [part for part in parts if part]


def _part(plan: Plan, study: Study, run_ids: set[str]) -> tuple[Plan, Study]:
    """Some runs of a plan, parents among them, and what is there of them."""
    jobs = {run_id: job for run_id, job in plan.jobs.items() if run_id in run_ids}
    kept = pl.col("run_id").is_in(list(run_ids))
    frames = {name: getattr(study, name).filter(kept) for name in ("runs", "states", "attempts")}
    return replace(plan, jobs=jobs), replace(study, **frames)


def _chosen_ids(only: Selection, plan: Plan, study: Study) -> set[str]:
    """Runs and reference energies that fit, the parents of the runs, and the references of their Hamiltonians."""
    runs = study.runs.select(column.name for column in RUN_FIELDS)
    references = {run_id: job for run_id, job in plan.jobs.items() if isinstance(job, ReferenceJob)}
    fields = [*runs.iter_rows(named=True), *map(reference_fields, references.values())]
    chosen = only.chosen(fields)
    if not chosen:
        raise SelectionError(
            f"--only {only.text!r} chooses none of the {len(fields)} runs of {plan.sweep}, profile {plan.profile}"
        )
    hamiltonian = ("hamiltonian", "hamiltonian_parameters")
    chosen |= {before for run_id in chosen for before in _sparser_tickets(plan.jobs.get(run_id))}
    trained = set(runs.filter(pl.col("run_id").is_in(list(chosen))).select(hamiltonian).iter_rows())
    return chosen | {
        run_id
        for run_id, job in references.items()
        if (job.hamiltonian.kind, job.hamiltonian.parameters_json) in trained
    }
