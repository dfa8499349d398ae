"""The command line: `python -m orchestrator SWEEP.py` runs a study or goes on with it."""

from __future__ import annotations

import argparse
import gc
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestrator.batches import MOST_MEMBERS, Batch, batches_of, kept_sentence, started_batches
from orchestrator.plan import DEFAULT_PROFILE, Plan, SweepError, load_plan

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.actors import Engine
    from orchestrator.loop import Executor, Loop
    from orchestrator.run_directory import RunDirectory
    from orchestrator.schedule import Schedule

PROGRAM = "python -m orchestrator"
DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """Refuses in one sentence, without the usage."""

    def error(self, message: str):
        self.exit(REFUSED, f"{self.prog}: {message}; see {self.prog} --help\n")


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"is {text!r}; allowed: a whole number, at least 1")
    return number


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"is {text!r}; allowed: a whole number, at least 0")
    return int(text)


def _cluster_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text != "auto" and not (host and "/" not in host and port.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"is {text!r}; allowed: auto, or host:port of the cluster's head (6379 unless it was told another)"
        )
    return text


def _batch_size(text: str) -> int | str:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"is {text!r}; allowed: auto, or a whole number, at least 1")
    return text if text == "auto" else int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Run a sweep, or go on with it: the same command again does only what is missing. Runs "
        "that failed are tried again.",
        epilog="Exit code 0: all is done (runs that diverged count as done, and are reported); 1: failures "
        "remain; 2: bad use or a bad sweep file; 130: interrupted, and the same command goes on.",
    )
    parser.add_argument("sweep", metavar="SWEEP.py", type=Path, help="The file that declares the sweep.")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        default=DEFAULT_PROFILE,
        help=f"A scale that the sweep file declares. Default: {DEFAULT_PROFILE}.",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="The run directory. Default: runs/<sweep name>-<profile>."
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--plan",
        action="store_true",
        help="Say what would run, why, in which order and for how long; train nothing.",
    )
    instead.add_argument(
        "--status", action="store_true", help="Say how many runs wait, run, are done, diverged or failed."
    )
    instead.add_argument(
        "--export",
        metavar="DIR",
        type=Path,
        help="Write joined, documented tables of what is there, one file a table.",
    )
    instead.add_argument(
        "--compact",
        action="store_true",
        help="Merge the many small files of the run directory into few, which are read faster; a start does it "
        "by itself where there are very many.",
    )
    parser.add_argument(
        "--format",
        choices=("parquet", "csv"),
        help="With --export: Parquet, or CSV without the weights. Default: parquet.",
    )
    parser.add_argument("--json", action="store_true", help="With --status: as JSON, for programs.")
    parser.add_argument(
        "--executor",
        choices=("ray", "inline"),
        default="ray",
        help="Where trainings run: in ray actors, or one after another in this process. Default: ray.",
    )
    parser.add_argument(
        "--gpus", metavar="N", type=_count, help="GPUs to use, a slot each. Default: all; 0: CPU cores."
    )
    parser.add_argument(
        "--cpus-per-slot", metavar="N", type=_positive, default=1, help="Cores of each CPU slot. Default: 1."
    )
    parser.add_argument(
        "--slots-per-gpu",
        metavar="N",
        type=_positive,
        default=1,
        help="Slots that share each GPU and its memory. Default: 1.",
    )
    parser.add_argument(
        "--address",
        metavar="auto|HOST:PORT",
        type=_cluster_address,
        help="A running Ray cluster to train on, of which this machine is a node (docs/cluster.md). Default: ray is "
        "started here, for this machine alone.",
    )
    parser.add_argument(
        "--batch",
        metavar="N|auto",
        type=_batch_size,
        default="auto",
        help="Replicas that one program trains together. Default: auto, as many as fit into a GPU's memory "
        f"but at most {MOST_MEMBERS}, and 1 on CPU cores.",
    )
    return parser


def main(arguments: list[str] | None = None, engine: Engine | None = None) -> int:
    """Do what the command line says; the exit code.

    Args:
        engine: the training to call instead of the real one.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.json and not options.status:
        parser.error("argument --json: only with --status")
    if options.address and options.executor == "inline":
        parser.error("argument --address: not with --executor inline, which trains in this process")
    if options.format and not options.export:
        parser.error("argument --format: only with --export")
    try:
        plan = load_plan(options.sweep, options.profile)
        out = options.out or Path("runs") / f"{plan.sweep}-{plan.profile}"
        return _do(options, plan, out, engine)
    except SweepError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _do(options: argparse.Namespace, plan: Plan, out: Path, engine: Engine | None) -> int:
    # After the sweep file is known to be good: these take longer to import than it takes to read.
    from orchestrator.run_directory import RunDirectory, StudyError, WriteError

    try:
        directory = RunDirectory(out)
        exists = directory.belongs_to(plan)
        if options.plan:
            return _show_plan(options, plan, out)
        if options.status:
            return _show_status(options, plan, out)
        if options.compact:
            if not exists:
                raise StudyError(f"{out} has no results to compact yet")
            return _compact(directory)
        if options.export:
            if not exists:
                raise StudyError(f"{out} has no results to export yet")
            return _export(options, plan, out)
        return _run(options, plan, directory, engine)
    except WriteError as error:
        _refuse(
            f"{error}; what was committed before is kept, and the same command goes on once it can be written"
        )
        return FAILED
    except StudyError as error:
        return _refuse(error)


def _refuse(sentence: object) -> int:
    print(sentence, file=sys.stderr)
    return REFUSED


def _report_problems(problems: list[str]) -> int:
    for problem in problems:
        _refuse(problem)
    return REFUSED if problems else DONE


def _standing(plan: Plan, out: Path, since=None, batches: Sequence[Batch] = ()):
    """The study, its costs and its schedule."""
    from orchestrator.costs import CostModel
    from orchestrator.store import read_study, schedule_of, start_after

    study = read_study(out, plan)
    if since is not None:
        since = start_after(study.attempts, since)
    costs = CostModel.of(plan, study.states, study.runs)
    schedule = schedule_of(
        plan, study.runs, study.states, study.references, study.attempts, costs.seconds, since, batches
    )
    return study, costs, schedule


def _show_plan(options: argparse.Namespace, plan: Plan, out: Path) -> int:
    from datetime import UTC, datetime

    from orchestrator.reports import print_plan
    from orchestrator.run_directory import RunDirectory
    from orchestrator.store import read_study

    # Failures have another chance on the next start, so the plan has them.
    # No slot is asked for its memory, so auto shows every run by itself.
    study = read_study(out, plan)
    batches = batches_of(plan, options.batch, recorded=started_batches(RunDirectory(out), study))
    study, costs, schedule = _standing(plan, out, datetime.now(UTC), batches)
    print_plan(_console(), plan, study, schedule, costs, _slots(options))
    return _report_problems(study.problems)


def _count_of(slots: int) -> str:
    return f"{slots} slot{'s' if slots > 1 else ''}"


def _slots(options: argparse.Namespace) -> int:
    from orchestrator.actors import cpu_slots

    if options.executor == "inline":
        return 1
    try:
        gpu_slots = (options.gpus or 0) * options.slots_per_gpu
        return gpu_slots or len(cpu_slots(options.cpus_per_slot))
    except ValueError as error:
        raise SweepError(str(error)) from None


def _show_status(options: argparse.Namespace, plan: Plan, out: Path) -> int:
    from orchestrator.reports import print_status, status_data

    study, costs, schedule = _standing(plan, out)
    status = status_data(plan, study, schedule, costs)
    if options.json:
        print(json.dumps(status, indent=1))
    else:
        print_status(_console(), status)
    return _report_problems(study.problems)


def _export(options: argparse.Namespace, plan: Plan, out: Path) -> int:
    from orchestrator.export import NO_WEIGHTS, export_study
    from orchestrator.store import read_study

    study = read_study(out, plan)
    if study.problems:
        return _report_problems(study.problems)
    written = export_study(study, options.export, options.format or "parquet")
    print(f"wrote {len(written)} files to {options.export}, described in {written[-1]}")
    if options.format == "csv":
        print(NO_WEIGHTS)
    return DONE


def _compact(directory: RunDirectory) -> int:
    from orchestrator.compaction import compact

    with directory.lock():
        directory.prepare()
        directory.write_plan(directory.read_plan())
        before, after = compact(directory, print)
    print(f"{directory.path / 'tables'}: {after} files" + (f", before {before}" if after < before else ""))
    return DONE


def _compact_many(directory: RunDirectory) -> None:
    """Compact a directory that would take long to read otherwise."""
    from orchestrator.compaction import MOST_PARTS, compact, most_parts

    if most_parts(directory) > MOST_PARTS:
        directory.prepare()
        print(f"{directory.path} has very many small files; merging them first, which is done once")
        compact(directory, print)


def _run(options: argparse.Namespace, plan: Plan, directory: RunDirectory, engine: Engine | None) -> int:
    started = time.monotonic()
    interrupted = False
    # A cluster's slots are counted once it is joined.
    slots = f"the cluster at {options.address}" if options.address else _count_of(_slots(options))
    with directory.lock() as holder, _Signals() as signals:
        _compact_many(directory)
        study, costs, schedule = _standing(plan, directory.path, holder.since)
        if study.problems:
            return _report_problems(study.problems)
        if missing := _missing_package(schedule):
            raise SweepError(f"{options.sweep}: {missing}")
        directory.prepare()
        directory.write_plan(plan)
        if schedule.finished:
            print(f"Nothing is missing of {plan.sweep}, profile {plan.profile}.")
            return _finish(plan, directory, schedule, started)
        from orchestrator.actors import ExecutorError
        from orchestrator.loop import Loop
        from orchestrator.progress import Progress

        with Progress(_console()) as progress:
            loop_with = partial(Loop, plan, directory, study, costs, progress, holder.since, signals.received)
            kept = started_batches(directory, study)

            def compose(memory_bytes: int | None, count: int) -> list[Batch]:
                batches = batches_of(plan, options.batch, memory_bytes, count, kept)
                directory.write_batches(batches)
                planned = batches_of(plan, options.batch, memory_bytes, count) if kept else ()
                if sentence := kept_sentence(kept, planned):
                    progress.note(sentence)
                return batches

            progress.note(f"{len(schedule.missing)} units to do on {slots}, in {directory.path}")
            try:
                loop = _work(options, plan, loop_with, compose, signals, engine, progress.note)
                progress.note(str(loop.overhead))
            except ExecutorError as error:
                _refuse(error)
                return FAILED
            except KeyboardInterrupt:
                # Polars raises it when SIGINT comes while it reads, whatever handler there is.
                interrupted = True
    if interrupted or signals.received():
        command = shlex.join(["python", "-m", "orchestrator", *sys.argv[1:]])
        print(f"interrupted; all that was committed is kept, and the same command goes on: {command}")
        return INTERRUPTED
    return _finish(plan, directory, loop.schedule, started)


def _missing_package(schedule: Schedule) -> str | None:
    """What is said where a reference energy that is to be computed needs a package that is not there."""
    from nqs.config import ReferenceJob

    jobs = (schedule.jobs[unit.run_id] for unit in schedule.missing)
    return next(filter(None, (job.missing_package for job in jobs if isinstance(job, ReferenceJob))), None)


def _work(
    options: argparse.Namespace,
    plan: Plan,
    loop_with: Callable[..., Loop],
    compose: Callable[[int | None, int], list[Batch]],
    signals: _Signals,
    engine: Engine | None,
    say: Callable[[str], None],
) -> Loop:
    """Run what is missing, in batches that fit the executor's slots; the loop as it ended.

    Args:
        loop_with: makes the loop, given its `batches`.
        compose: makes and records the batches, given a slot's memory and how many slots there are.

    Raises:
        SweepError: a criterion or network of the user's cannot be used.
    """
    executor = _executor(options, signals, engine, say)
    try:
        # Asked now: a criterion would first be called once a dense network is trained.
        if plan.own_code and (problem := executor.problem_with(plan.own_code)):
            raise SweepError(f"{options.sweep}: {problem}")
        # Only auto asks, since the answer starts jax in the slots.
        memory_bytes = executor.memory_bytes() if options.batch == "auto" else None
        loop = loop_with(batches=compose(memory_bytes, len(executor.slots)))
        loop.run(executor)
        return loop
    finally:
        executor.close()


def _executor(
    options: argparse.Namespace, signals: _Signals, engine: Engine | None, say: Callable[[str], None]
) -> Executor:
    from orchestrator.actors import ENGINE, InlineExecutor, RayExecutor

    engine = engine or ENGINE
    beside = options.sweep.resolve().parent
    if options.executor == "inline":
        return InlineExecutor(options.cpus_per_slot, engine, beside)
    executor = RayExecutor(
        options.gpus, options.cpus_per_slot, engine, beside, options.slots_per_gpu, options.address, say
    )
    # ray.init puts its own handlers in place of ours.
    signals.install()
    return executor


def _finish(plan: Plan, directory: RunDirectory, schedule: Schedule, started: float) -> int:
    from orchestrator.reports import print_summary
    from orchestrator.store import read_study

    console = _console()
    study = read_study(directory.path, plan)
    print_summary(console, study, schedule, time.monotonic() - started)
    app = shlex.join(["streamlit", "run", "explorer/app.py", "--", str(directory.path)])
    console.print(f"open it: {app}", highlight=False, soft_wrap=True)
    return FAILED if "failed" in schedule.states.values() else DONE


def _console() -> Console:
    from rich.console import Console

    # Without a terminal there is no width to fit.
    return Console() if sys.stdout.isatty() else Console(width=200)


class _Signals:
    """Turns SIGINT and SIGTERM into a flag, so that the loop ends between two writes.

    The second signal ends the process at once, which loses no more than a kill does.
    """

    def __init__(self):
        self._received = False
        self._before = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.install()
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        if not self._received:
            for number in self._before:
                signal.signal(number, self._receive)

    def received(self) -> bool:
        return self._received

    def _receive(self, number, frame) -> None:
        self._received = True
        # Not print: its buffer may be in use where the signal came.
        os.write(sys.stdout.fileno(), b"stopping once what is being written is whole; again: at once\n")
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)


if __name__ == "__main__":
    # A plan of 10⁴ runs is a million small objects that all stay; looking for garbage among them again and again
    # took a quarter of the time of --status.
    gc.set_threshold(200_000, 20, 50)
    sys.exit(main())
