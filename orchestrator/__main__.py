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
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from orchestrator.batches import MOST_MEMBERS, batches_of, kept_sentence
from orchestrator.plan import DEFAULT_PROFILE, Plan, SweepError, load_plan

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.actors import Engine
    from orchestrator.loop import Executor, Loop
    from orchestrator.progress import Progress
    from orchestrator.run_directory import RunDirectory
    from orchestrator.schedule import Schedule
    from orchestrator.selection import Selection
    from orchestrator.standing import Standing

PROGRAM = "python -m orchestrator"
# A start says which studies have missing runs where that spares so many seconds; --plan always does.
_WORTH_SAYING = 600
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


def _named(text: str) -> str:
    if not text.strip():
        # An empty variable of a shell script; --explain "" would else be a start.
        raise argparse.ArgumentTypeError("is empty")
    return text


def _path(text: str) -> Path:
    return Path(_named(text))


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


def _selection(text: str) -> Selection:
    from orchestrator.selection import Selection, SelectionError

    try:
        return Selection.parse(text)
    except SelectionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_EPILOG = f"""\
examples:
  {PROGRAM} sweeps/finite_size.py --profile laptop
      run a study, or go on with it
  {PROGRAM} sweeps/finite_size.py --plan
      what that would do, why, and for how long
  {PROGRAM} sweeps/finite_size.py --only "side <= 5 and method == 'imp_wr'" --limit 2
      the first two missing runs of the small lattices
  {PROGRAM} sweeps/finite_size.py --status --watch
      how it stands, refreshed
  {PROGRAM} sweeps/finite_size.py --explain t3f2a
      the whole story of the run whose id begins so
  {PROGRAM} sweeps/finite_size.py --retry-failed
      once the cause of failures is mended

Exit code 0: all that was asked for is done (runs that diverged count as done, and are reported); 1: failures
remain; 2: bad use or a bad sweep file; 130: interrupted, and the same command goes on.
"""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run a sweep, or go on with it: the same command again does only what is missing.",
        epilog=_EPILOG,
    )
    parser.add_argument("sweep", metavar="SWEEP.py", type=Path, help="The file that declares the sweep.")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        default=DEFAULT_PROFILE,
        help=f"A scale that the sweep file declares. Default: {DEFAULT_PROFILE}.",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=_path, help="The run directory. Default: runs/<sweep name>-<profile>."
    )
    _add_asking(parser.add_argument_group("instead of running"))
    _add_choosing(parser.add_argument_group("what to run"))
    _add_placing(parser.add_argument_group("where to run"))
    return parser


def _add_asking(group: argparse._ArgumentGroup) -> None:
    instead = group.add_mutually_exclusive_group()
    instead.add_argument(
        "--plan",
        action="store_true",
        help="Say what would run, why, in which order and for how long; train nothing.",
    )
    instead.add_argument(
        "--status", action="store_true", help="Say how many runs wait, run, are done, diverged or failed."
    )
    instead.add_argument(
        "--explain",
        metavar="RUN_ID",
        type=_named,
        help="Tell a run's whole story: what it is, why it is there, what it waits for, its levels, failures "
        "and files. The beginning of its id is enough.",
    )
    instead.add_argument(
        "--export",
        metavar="DIR",
        type=_path,
        help="Write joined, documented tables of what is there, one file a table.",
    )
    instead.add_argument(
        "--merge",
        metavar="DIR",
        type=_path,
        help="Take in the results that another run directory or an export has and this run directory lacks, made on "
        "another machine or for another sweep that shares runs with this one; train nothing.",
    )
    instead.add_argument(
        "--compact",
        action="store_true",
        help="Merge the many small files of the run directory into few, which are read faster; a start does it "
        "by itself where there are very many.",
    )
    group.add_argument(
        "--format",
        choices=("parquet", "csv"),
        help="With --export: Parquet, or CSV without the weights. Default: parquet.",
    )
    group.add_argument(
        "--weights",
        choices=("all", "needed"),
        help="With --export: the weights of all networks, or of those alone that a run of the sweep starts from and "
        "of each trajectory's last level: enough to go on with the study, and a fifth of the size. Default: all.",
    )
    group.add_argument(
        "--steps-every",
        type=_positive,
        metavar="N",
        help="With --export: of each level's training curve the steps that are multiples of N, ten a decade of those "
        "before N, and the last. Default: all that were recorded.",
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="With --plan, --status, --explain, --export, --merge or --compact: as JSON, for programs.",
    )
    group.add_argument(
        "--watch", action="store_true", help="With --status, on a terminal: refreshed until Ctrl-C."
    )


def _add_choosing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--only",
        metavar="EXPR",
        type=_selection,
        help="The runs for which this is true, and their parents. EXPR has fields of runs (side, field, kind, "
        "method, variant, level, replicate, network, run_id and the other columns of the table runs), numbers, "
        "quoted texts, comparisons, in (…), and, or, not. A comparison with a field that a run does not have is "
        "false. Also with --plan, --status and --export.",
    )
    group.add_argument(
        "--limit",
        metavar="N",
        type=_positive,
        help="Do N of the missing runs and reference energies, the first in order, and end. Also with --plan.",
    )
    group.add_argument(
        "--retry-failed",
        action="store_true",
        help="Try again what failed by a bug in an earlier start; without it that is left as it is. What the "
        "machine did, such as a lost slot, is tried again by every start. Also with --plan.",
    )
    group.add_argument(
        "--fail-fast",
        action="store_true",
        help="Begin nothing more once a run has failed; what runs then is kept at its next report.",
    )


def _add_placing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--executor",
        choices=("ray", "inline"),
        default="ray",
        help="Where trainings run: in ray actors, or one after another in this process. Default: ray.",
    )
    group.add_argument(
        "--gpus", metavar="N", type=_count, help="GPUs to use, a slot each. Default: all; 0: CPU cores."
    )
    group.add_argument(
        "--cpus-per-slot", metavar="N", type=_positive, default=1, help="Cores of each CPU slot. Default: 1."
    )
    group.add_argument(
        "--slots-per-gpu",
        metavar="N",
        type=_positive,
        default=1,
        help="Slots that share each GPU and its memory. Default: 1.",
    )
    group.add_argument(
        "--address",
        metavar="auto|HOST:PORT",
        type=_cluster_address,
        help="A running Ray cluster to train on, of which this machine is a node (docs/cluster.md). Default: ray is "
        "started here, for this machine alone.",
    )
    group.add_argument(
        "--batch",
        metavar="N|auto",
        type=_batch_size,
        default="auto",
        help="Replicas that one program trains together. Default: auto, as many as fit into a GPU's memory "
        f"but at most {MOST_MEMBERS}, and 1 on CPU cores.",
    )


# What each flag goes with; "run" is a start.
_GOES_WITH = {
    "json": ("plan", "status", "explain", "export", "merge", "compact"),
    "watch": ("status",),
    "format": ("export",),
    "weights": ("export",),
    "steps_every": ("export",),
    "only": ("run", "plan", "status", "export"),
    "limit": ("run", "plan"),
    "retry_failed": ("run", "plan"),
    "fail_fast": ("run",),
}


def _check_flags(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    modes = ("plan", "status", "explain", "export", "merge", "compact")
    mode = next((name for name in modes if getattr(options, name)), "run")
    for flag, allowed in _GOES_WITH.items():
        if getattr(options, flag) and mode not in allowed:
            with_flags = [f"--{name}" for name in allowed if name != "run"]
            given = "" if mode == "run" else f"not with --{mode}" + ("; " if with_flags else "")
            only = f"only with {' or '.join(with_flags)}" if with_flags else ""
            parser.error(f"argument --{flag.replace('_', '-')}: {given}{only}")
    if options.watch and options.json:
        parser.error("argument --watch: not with --json; a program calls --status --json again")
    if options.watch and not sys.stdout.isatty():
        parser.error("argument --watch: needs a terminal; elsewhere call --status again")


def main(arguments: list[str] | None = None, engine: Engine | None = None) -> int:
    """Do what the command line says; the exit code.

    Args:
        engine: the training to call instead of the real one.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_flags(parser, options)
    if options.executor == "inline":
        for flag, given in (
            ("address", options.address),
            ("gpus", options.gpus),
            ("slots-per-gpu", options.slots_per_gpu > 1),
        ):
            if given:
                parser.error(f"argument --{flag}: not with --executor inline, which trains in this process")
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
    from orchestrator.selection import SelectionError

    try:
        directory = RunDirectory(out)
        exists = directory.belongs_to(plan)
        if options.plan:
            return _show_plan(options, plan, out)
        if options.status:
            return _show_status(options, plan, out)
        if options.explain:
            return _explain(options, plan, out)
        if options.merge:
            return _merge(options, plan, directory)
        if options.compact:
            if not exists:
                raise StudyError(f"{out} has no results to compact yet")
            return _compact(options, directory)
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
    except (StudyError, SelectionError) as error:
        return _refuse(error)


def _refuse(sentence: object) -> int:
    print(sentence, file=sys.stderr)
    return REFUSED


def _report_problems(problems: list[str]) -> int:
    for problem in problems:
        _refuse(problem)
    return REFUSED if problems else DONE


def _show_plan(options: argparse.Namespace, plan: Plan, out: Path) -> int:
    from datetime import UTC, datetime

    from orchestrator.reports import plan_data, print_plan
    from orchestrator.standing import Standing

    # Failures that do not last have another chance on the next start, so the plan has them.
    standing = Standing.of(plan, out, options.only, datetime.now(UTC), options.retry_failed)
    # No slot is asked for its memory, so auto shows every run by itself.
    batches = batches_of(plan, options.batch, recorded=standing.started, ended=standing.ended)
    slots, what = _slots(options)
    data = plan_data(standing.batched(batches), slots, what, options.limit)
    _show(options, data, print_plan)
    return _report_problems(standing.problems)


def _show(options: argparse.Namespace, data: dict, print_data: Callable[[Console, dict], None]) -> None:
    """Data as JSON for programs, or as text."""
    if options.json:
        print(json.dumps(data, indent=1))
    else:
        print_data(_console(), data)


def _slots(options: argparse.Namespace) -> tuple[int, str]:
    """How many slots are counted with, and how a sentence calls them; neither ray nor a cluster is asked."""
    from orchestrator.slots import expected_slots

    if options.executor == "inline":
        return 1, "1 CPU slot"
    try:
        slots = expected_slots(options.gpus, options.cpus_per_slot, options.slots_per_gpu)
    except ValueError as error:
        raise SweepError(str(error)) from None
    what = f"{len(slots)} {'CPU' if slots[0].threads else 'GPU'} slot{'s' if len(slots) > 1 else ''}"
    if options.address:
        why = f"by --gpus {options.gpus}" if options.gpus else "as on this machine"
        what += f" {why}, since only a start joins the cluster at {options.address}"
    return len(slots), what


def _show_status(options: argparse.Namespace, plan: Plan, out: Path) -> int:
    from orchestrator.reports import print_status, status_data, watch_status
    from orchestrator.standing import Standing

    def read() -> dict:
        return status_data(Standing.of(plan, out, options.only))

    if options.watch:
        watch_status(_console(), read)
        return DONE
    status = read()
    _show(options, status, print_status)
    return _report_problems(status["problems"])


def _explain(options: argparse.Namespace, plan: Plan, out: Path) -> int:
    from orchestrator.standing import Standing
    from orchestrator.story import find_run, print_story, story_data

    standing = Standing.of(plan, out)
    story = story_data(standing, find_run(standing, options.explain))
    _show(options, story, print_story)
    return _report_problems(standing.study.problems)


def _export(options: argparse.Namespace, plan: Plan, out: Path) -> int:
    from orchestrator.data_dictionary import NO_WEIGHTS
    from orchestrator.export import export_study, needed_networks
    from orchestrator.standing import Standing

    study = Standing.of(plan, out, options.only).study
    if study.problems:
        return _report_problems(study.problems)
    kept = needed_networks(plan, study) if options.weights == "needed" else None
    written = export_study(study, options.export, options.format or "parquet", kept, options.steps_every or 1)

    def sentence(console: Console, data: dict) -> None:
        print(f"wrote {len(written)} files to {options.export}, described in {written[-1]}")
        if options.format == "csv":
            print(NO_WEIGHTS)

    files = [str(path) for path in written]
    _show(options, {"path": str(options.export), "only": study.only, "files": files}, sentence)
    return DONE


def _merge(options: argparse.Namespace, plan: Plan, directory: RunDirectory) -> int:
    from orchestrator.merging import merge, merge_sentences, read_source

    # Read and refused before the directory is made.
    source = read_source(options.merge, plan)
    with directory.lock():
        directory.prepare()
        directory.write_plan(plan)
        data = merge(directory, plan, source)

    def sentences(console: Console, data: dict) -> None:
        for sentence in merge_sentences(data):
            print(sentence)

    _show(options, data, sentences)
    return DONE


def _compact(options: argparse.Namespace, directory: RunDirectory) -> int:
    from orchestrator.compaction import compact

    merged: list[str] = []

    def note(sentence: str) -> None:
        merged.append(sentence)
        if not options.json:
            print(sentence)

    with directory.lock():
        directory.prepare()
        directory.write_plan(directory.read_plan())
        before, after = compact(directory, note)

    def sentence(console: Console, data: dict) -> None:
        print(f"{data['path']}: {after} files" + (f", before {before}" if after < before else ""))

    path = str(directory.path / "tables")
    _show(options, {"path": path, "files_before": before, "files": after, "merged": merged}, sentence)
    return DONE


def _compact_many(directory: RunDirectory) -> None:
    """Compact a directory that would take long to read otherwise."""
    from orchestrator.compaction import MOST_PARTS, compact, most_parts

    if most_parts(directory) > MOST_PARTS:
        directory.prepare()
        print(f"{directory.path} has very many small files; merging them first, which is done once")
        compact(directory, print)


def _run(options: argparse.Namespace, plan: Plan, directory: RunDirectory, engine: Engine | None) -> int:
    from orchestrator.cluster import why_unreachable
    from orchestrator.elsewhere import found_elsewhere
    from orchestrator.reports import counted, left_out_sentence
    from orchestrator.standing import Standing

    started = time.monotonic()
    interrupted = False
    # A cluster's slots are counted once it is joined.
    slots = f"the cluster at {options.address}" if options.address else _slots(options)[1]
    if not directory.path.exists():
        # A choice of nothing and a cluster that cannot be joined leave no trace: the lock would make the directory.
        if options.only:
            Standing.of(plan, directory.path, options.only)
        if options.address and (problem := why_unreachable(options.address)):
            return _refuse(problem)
    with directory.lock(options.retry_failed) as holder, _Signals() as signals:
        _compact_many(directory)
        standing = Standing.of(plan, directory.path, options.only, holder.since, options.retry_failed)
        if problems := standing.problems:
            return _report_problems(problems)
        if missing := _missing_package(standing.schedule):
            raise SweepError(f"{options.sweep}: {missing}")
        directory.prepare()
        directory.write_plan(plan)
        if standing.schedule.finished:
            _close_unclosed(standing, directory)
            can_run = "can run" if standing.failed_runs else "is missing"
            print(f"Nothing {can_run} of {standing.name}.")
            return _finish(options, standing, started)
        from orchestrator.actors import ClusterError, ExecutorError
        from orchestrator.progress import Progress

        with Progress(_console()) as progress:
            units = counted(standing.schedule.missing, "unit")
            progress.note(f"{units} to do on {slots}, in {directory.path}")
            if standing.failed_runs:
                progress.note(left_out_sentence(standing.failed_runs))
            for other in found_elsewhere(standing):
                if other.seconds >= _WORTH_SAYING:
                    progress.note(other.sentence)
            try:
                loop = _work(options, standing, directory, progress, signals, engine)
                progress.note(str(loop.overhead))
            except ClusterError as error:
                return _refuse(error)
            except ExecutorError as error:
                _refuse(error)
                return FAILED
            except KeyboardInterrupt:
                # Polars raises it when SIGINT comes while it reads, whatever handler there is.
                interrupted = True
    if interrupted or signals.received():
        command = " ".join(["python -m orchestrator", *map(_as_typed, sys.argv[1:])])
        print(f"interrupted; all that was committed is kept, and the same command goes on: {command}")
        return INTERRUPTED
    # What failed and was not tried in this start, by --limit say, remains a failure.
    ended = Standing.of(plan, directory.path, options.only)
    return _finish(options, ended, started, loop)


def _as_typed(word: str) -> str:
    """A word of a command for a shell, in double quotes where a person would write them: --only has texts in single ones."""
    # Before an equals sign an exclamation mark is one to every shell.
    return (
        f'"{word}"' if "'" in word and not set(word.replace("!=", "")) & set('"$`\\!') else shlex.quote(word)
    )


def _close_unclosed(standing: Standing, directory: RunDirectory) -> None:
    """End runs that an edit has made complete; a start that trains something does it as well."""
    from orchestrator.loop import Loop, unclosed_runs
    from orchestrator.progress import Progress

    if unclosed_runs(standing.study):
        batches = batches_of(standing.chosen, 1, recorded=directory.read_batches())
        progress = Progress(_console())
        Loop(
            standing.chosen,
            directory,
            standing.study,
            standing.costs,
            progress,
            standing.since,
            batches=batches,
        )


def _missing_package(schedule: Schedule) -> str | None:
    """What is said where a reference energy that is to be computed needs a package that is not there."""
    from nqs.config import ReferenceJob

    jobs = (schedule.jobs[unit.run_id] for unit in schedule.missing)
    return next(filter(None, (job.missing_package for job in jobs if isinstance(job, ReferenceJob))), None)


def _work(
    options: argparse.Namespace,
    standing: Standing,
    directory: RunDirectory,
    progress: Progress,
    signals: _Signals,
    engine: Engine | None,
) -> Loop:
    """Run what is missing, in batches that fit the executor's slots; the loop as it ended.

    Raises:
        SweepError: a criterion or network of the user's cannot be used.
    """
    from orchestrator.loop import Loop
    from orchestrator.rates import remember

    plan, kept, ended = standing.plan, standing.started, standing.ended
    executor = _executor(options, signals, engine, progress.note)
    try:
        # Asked now: a criterion would first be called once a dense network is trained.
        if plan.own_code and (problem := executor.problem_with(plan.own_code)):
            raise SweepError(f"{options.sweep}: {problem}")
        # Only auto asks, since the answer starts jax in the slots.
        memory_bytes = executor.memory_bytes() if options.batch == "auto" else None
        batches = partial(batches_of, plan, options.batch, memory_bytes, len(executor.slots), ended=ended)
        standing = standing.batched(batches(recorded=kept))
        if sentence := kept_sentence(kept, batches() if kept else (), ended):
            progress.note(sentence)
        if options.limit is not None:
            # A cluster may have no slots yet.
            standing = standing.limited(options.limit, max(1, len(executor.slots)))
        others = standing.other_batches
        directory.write_batches([*standing.batches, *others])
        loop = Loop(
            standing.chosen,
            directory,
            standing.study,
            standing.costs,
            progress,
            standing.since,
            signals.received,
            batches=standing.batches,
            other_batches=others,
            retry_failed=options.retry_failed,
            fail_fast=options.fail_fast,
        )
        loop.run(executor)
        return loop
    finally:
        executor.close()
        remember(standing.costs.measured)


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


def _finish(options: argparse.Namespace, standing: Standing, started: float, loop: Loop | None = None) -> int:
    from orchestrator.reports import print_summary

    console = _console()
    print_summary(console, standing, time.monotonic() - started)
    left = len(standing.missing_runs)
    if left and loop is not None and loop.ended_by_failure:
        print(f"ended at the first failure; runs left: {left}; the command without --fail-fast does them")
    elif left and options.limit is not None:
        print(f"ended after --limit {options.limit}; runs left: {left}; the same command does the next")
    app = shlex.join(["streamlit", "run", "explorer/app.py", "--", str(standing.study.path)])
    console.print(f"open it: {app}", highlight=False, soft_wrap=True)
    return FAILED if standing.failed_runs else DONE


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


def _end(code: int) -> NoReturn:
    """End the process with an exit code, at once: taking a million objects apart takes 0.1 to 0.2 s."""
    if {"ray", "jax"} & sys.modules.keys():
        sys.exit(code)  # they have threads and processes to end
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    # A plan of 10⁴ runs is a million small objects that all stay; looking for garbage among them again and again
    # took a quarter of the time of --status.
    gc.set_threshold(200_000, 20, 50)
    _end(main())
