"""The command line as a person meets it: sentences, exit codes, nothing lost."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from orchestrator.__main__ import main
from orchestrator.run_directory import RunDirectory
from orchestrator.store import read_study
from orchestrator.tables import REFERENCES
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import REPOSITORY, SWEEP_FILE, assert_same_tables, run_ids, small_plan

INLINE = ("--executor", "inline")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.py").write_text(SWEEP_FILE)
    arguments = [str(folder / "small.py"), "--out", str(folder / "run"), *INLINE]
    assert main(arguments, engine=FakeEngine().engine()) == 0
    return folder / "run"


def start(*arguments, step_seconds=0.0, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.orchestrator.fake_command_line", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"FAKE_STEP_SECONDS": str(step_seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def call(*arguments) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def snapshot(folder) -> dict:
    """Contents of every file below a folder; the lock and what a start tidies up aside."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


# --- running


def test_a_finished_study_run_again_says_so_and_exits_0_without_ray_or_jax(finished, sweep_file):
    program = (
        "import sys; from orchestrator.__main__ import main; code = main(sys.argv[1:]); "
        "print([name for name in ('ray', 'jax', 'netket') if name in sys.modules]); sys.exit(code)"
    )
    before = snapshot(finished)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, str(sweep_file), "--out", str(finished)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 5
    lines = done.stdout.splitlines()
    assert lines[0] == "Nothing is missing of small, profile paper."
    assert lines[-2] == f"open it: streamlit run explorer/app.py -- {finished}"
    assert lines[-1] == "[]"
    assert snapshot(finished) == before


def test_without_out_the_results_are_under_runs(sweep_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(sweep_file), *INLINE], engine=FakeEngine().engine()) == 0
    assert set(read_study(tmp_path / "runs" / "small-paper").runs["status"]) == {"done"}


def test_failures_exit_1_divergence_exits_0_and_both_are_reported(sweep_file, tmp_path, capsys):
    plan = small_plan()
    (bad, _), (_, diverging) = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    arguments = [str(sweep_file), "--out", str(tmp_path / "run"), *INLINE]
    fake = FakeEngine(bugs=((bad, 0),), diverges=((diverging, 1),))
    assert main(arguments, engine=fake.engine()) == 1
    out = capsys.readouterr().out
    assert f"failed: {bad}: RuntimeError: a bug on purpose" in out
    assert f"diverged: {diverging}: the energy is nan at step 5; blocks 2 runs" in out
    # A bug would come again, so it is left until someone has mended it; the diverged run is done.
    assert main(arguments, engine=FakeEngine().engine()) == 1
    out = capsys.readouterr().out
    assert "Nothing can run of small, profile paper." in out
    assert f"once mended, --retry-failed tries it again; --explain {bad} tells more" in out
    assert main([*arguments, "--retry-failed"], engine=FakeEngine().engine()) == 0
    out = capsys.readouterr().out
    assert f"diverged: {diverging}" in out and "--retry-failed" not in out


def test_a_failure_that_a_limit_leaves_untried_is_a_failure(sweep_file, tmp_path, capsys):
    bugs = tuple((run_id, 0) for run_id in run_ids(small_plan(), "dense"))
    arguments = [str(sweep_file), "--out", str(tmp_path / "run"), *INLINE]
    assert main(arguments, engine=FakeEngine(bugs=bugs).engine()) == 1
    capsys.readouterr()
    assert main([*arguments, "--retry-failed", "--limit", "1"], engine=FakeEngine().engine()) == 1
    out = capsys.readouterr().out
    assert "1 failed" in out and "--retry-failed tries it again" in out


def test_fewer_levels_that_are_all_there_end_their_runs(sweep_file, tmp_path):
    bugs = tuple((run_id, 3) for run_id in run_ids(small_plan(), "trajectory"))
    arguments = [str(sweep_file), "--out", str(tmp_path / "run"), *INLINE]
    assert main(arguments, engine=FakeEngine(bugs=bugs).engine()) == 1
    sweep_file.write_text(SWEEP_FILE.replace("levels=3", "levels=2"))
    assert main(arguments, engine=FakeEngine().engine()) == 0
    assert set(read_study(tmp_path / "run").runs["outcome"]) == {"done"}


def test_only_a_failure_of_this_start_is_said_to_have_ended_it(sweep_file, tmp_path, capsys):
    (bad, _) = run_ids(small_plan(), "dense")
    arguments = [str(sweep_file), "--out", str(tmp_path / "run"), *INLINE, "--fail-fast"]
    assert main(arguments, engine=FakeEngine(bugs=((bad, 0),)).engine()) == 1
    assert "ended at the first failure; runs left: 5" in capsys.readouterr().out
    assert main([*arguments, "--limit", "1"], engine=FakeEngine().engine()) == 1
    out = capsys.readouterr().out
    assert "ended after --limit 1; runs left: 4" in out and "first failure" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_with_130_and_the_same_command_goes_on_to_the_same_tables(
    number, finished, sweep_file, tmp_path
):
    out = tmp_path / "run"
    arguments = (sweep_file, "--out", out, *INLINE, "--only", "method == 'imp_wr'")
    # Slow enough that a stall of this machine cannot let the study finish before the signal comes.
    process = start(*arguments, step_seconds=0.1)
    wait_for(lambda: len(list((out / "tables" / "states").glob("*.parquet"))) >= 2)
    process.send_signal(number)
    text, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert f"the same command goes on: python -m orchestrator {sweep_file} --out {out}" in text
    assert """--only "method == 'imp_wr'"\n""" in text
    assert err == ""
    assert 2 <= read_study(out).states.height < 12
    assert RunDirectory(out).holder() is None
    assert call(*arguments)[0] == 0
    assert_same_tables(read_study(finished), read_study(out))


def test_an_interrupt_that_polars_raises_while_it_reads_ends_as_any_other(sweep_file, tmp_path, capsys):
    def interrupted(tasks, seconds):
        raise KeyboardInterrupt

    engine = FakeEngine().engine()._replace(advance_batch=interrupted)
    assert main([str(sweep_file), "--out", str(tmp_path / "run"), *INLINE], engine=engine) == 130
    assert "the same command goes on: python -m orchestrator" in capsys.readouterr().out


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_killed_at_five_points_a_study_ends_with_the_tables_of_an_undisturbed_one(
    finished, sweep_file, tmp_path
):
    """kill −9 after so many more files each time, with the fake training; the real one is in test_kill.py."""
    out = tmp_path / "run"
    arguments = (sweep_file, "--out", out, *INLINE)
    codes = []
    for kill in range(5):
        process = start(*arguments, step_seconds=0.01)
        kill_after(1 + kill % 3, process, out)
        codes.append(process.returncode)
    # On a busy machine the last ones may come when the study has ended.
    assert set(codes) <= {-signal.SIGKILL, 0} and codes[:2] == [-signal.SIGKILL] * 2
    assert call(*arguments)[0] == 0
    assert_same_tables(read_study(finished), read_study(out))


def kill_after(files: int, process: subprocess.Popen, out) -> None:
    """Kill a driver once it has written so many more files."""
    seen = written(out)
    wait_for(lambda: process.poll() is not None or written(out) - seen >= files)
    process.kill()
    process.communicate()


def written(out) -> int:
    # A file may be renamed while the tree is walked.
    with contextlib.suppress(FileNotFoundError):
        return len(list((out / "tables").rglob("*.parquet")))
    return 0


# --- asking


def test_status_has_a_row_for_each_state_and_json_the_same_for_programs(finished, sweep_file):
    code, out, err = call(sweep_file, "--out", finished, "--status")
    assert (code, err) == (0, "")
    for state in ("waiting", "ready", "running", "done", "diverged", "failed", "blocked", "stale"):
        assert f"\n {state} " in out
    code, out, err = call(sweep_file, "--out", finished, "--status", "--json")
    status = json.loads(out)
    assert (code, status["counts"]["done"], status["remaining_seconds"]) == (0, 8, 0)
    assert status["references"] == {"known": 1, "wanted": 1, "out_of_reach": []}


def test_status_tells_the_first_error_and_what_it_leaves_to_do(sweep_file, tmp_path, capsys):
    out, (bad, _) = tmp_path / "run", run_ids(small_plan(), "dense")
    arguments = [str(sweep_file), "--out", str(out)]
    main([*arguments, *INLINE], engine=FakeEngine(bugs=((bad, 0),)).engine())
    capsys.readouterr()
    assert main([*arguments, "--status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["counts"]["failed"], status["counts"]["blocked"]) == (1, 3)
    (failed,) = [run for run in status["runs"] if run["status"] == "failed"]
    assert failed["reason"].startswith("RuntimeError: a bug on purpose")
    left = [run["remaining_seconds"] for run in status["runs"] if run["status"] in ("failed", "blocked")]
    assert min(left) > 0
    assert status["remaining_seconds"] == pytest.approx(sum(left))


def with_lowest_energy_below_reference(path, errors: float) -> dict:
    """Put the study's reference so many combined errors above its lowest energy; that state."""
    state = read_study(path).states.sort("energy").row(0, named=True)
    (part,) = RunDirectory(path).table(REFERENCES).iterdir()
    energy = state["energy"] + errors * math.hypot(state["energy_error"], 0.05)
    pl.read_parquet(part).with_columns(energy=energy, energy_error=0.05).write_parquet(part)
    return state


def test_an_energy_5_errors_below_its_reference_is_named_wherever_a_study_is_told(copy, sweep_file, capsys):
    state = with_lowest_energy_below_reference(copy, 5.1)
    name = f"{state['run_id']} level {state['level']}"
    arguments = [str(sweep_file), "--out", str(copy)]
    # A start with nothing to do ends as any run does.
    for flags in ([], ["--status"]):
        assert main([*arguments, *flags]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "below its reference" in line]
        assert line.startswith(f"below its reference: {name}: energy {state['energy']:.10g} lies ")
        assert line.endswith("(ed), more than 5 errors")
    assert main([*arguments, "--status", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["below_reference"]
    assert (told["run_id"], told["level"], told["energy"]) == (
        state["run_id"],
        state["level"],
        state["energy"],
    )
    assert told["reference_energy"] - told["energy"] == pytest.approx(5.1 * math.hypot(0.1, 0.05))
    export = copy.parent / "export"
    assert main([*arguments, "--export", str(export)]) == 0
    flagged = pl.read_parquet(export / "states.parquet").filter("below_reference")
    assert flagged.select("run_id", "level").rows() == [(state["run_id"], state["level"])]


def test_an_energy_less_than_5_errors_below_its_reference_is_named_nowhere(copy, sweep_file, capsys):
    with_lowest_energy_below_reference(copy, 4.9)
    arguments = [str(sweep_file), "--out", str(copy)]
    for flags in ([], ["--status"]):
        assert main([*arguments, *flags]) == 0
        assert "below its reference" not in capsys.readouterr().out
    assert main([*arguments, "--status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["below_reference"] == []
    export = copy.parent / "export"
    assert main([*arguments, "--export", str(export)]) == 0
    column = pl.read_parquet(export / "states.parquet")["below_reference"]
    assert column.null_count() == 0 and not column.any()


def test_a_plan_names_every_missing_run_with_its_reason_and_writes_nothing(sweep_file, tmp_path, monkeypatch):
    # Other tests' processes have left their rates in the one that they share.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, out, err = call(sweep_file, "--out", tmp_path / "run", "--plan")
    assert (code, err) == (0, "")
    for run_id in small_plan().jobs:
        assert run_id in out
    assert "not started" in out and "from default rates" in out
    assert list(tmp_path.iterdir()) == [sweep_file]


def test_a_plan_of_an_extended_sweep_has_only_what_is_missing_from_measured_times(finished, sweep_file):
    sweep_file.write_text(SWEEP_FILE.replace("levels=3", "levels=4"))
    code, out, _ = call(sweep_file, "--out", finished, "--plan")
    assert code == 0
    assert [run_id for run_id in small_plan().jobs if run_id in out] == run_ids(small_plan(), "trajectory")
    assert "extended from 3 to 4 levels" in out and "from measured times" in out


def test_an_export_is_written_and_described(finished, sweep_file, tmp_path):
    code, out, err = call(sweep_file, "--out", finished, "--export", tmp_path / "export")
    assert (code, err) == (0, "")
    assert pl.read_parquet(tmp_path / "export" / "states.parquet").height == 12
    assert "DATA.md" in out


def test_help_has_every_flag_in_its_group_and_examples():
    code, out, _ = call("--help")
    flags = {word.strip(",[]()") for word in out.split() if word.strip("[(").startswith("--")}
    expected = (
        "--help --profile --out --plan --status --explain --json --watch --export --only --limit --retry-failed "
        "--fail-fast --executor --gpus --cpus-per-slot --batch --slots-per-gpu --address"
    )
    assert code == 0
    assert {flag for flag in flags if flag.strip("-")} >= set(expected.split())
    for group in ("instead of running:", "what to run:", "where to run:", "examples:"):
        assert f"\n{group}\n" in out


# --- bad use: one sentence, exit 2, nothing lost


def refused(*arguments) -> str:
    code, out, err = call(*arguments)
    assert code == 2, (code, out, err)
    assert out == ""
    assert err.endswith("\n") and err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


BAD_USE = {
    "an unknown flag": (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    "an unknown profile": (
        ["--profile", "huge"],
        "'huge' is not one of the sweep's profiles; known: 'paper'",
    ),
    "an unknown executor": (["--executor", "slurm"], "invalid choice: 'slurm'"),
    "a shortened flag": (["--stat"], "unrecognized arguments: --stat"),
    "cores that are not there": (["--cpus-per-slot", "9999"], "--cpus-per-slot is 9999; allowed: 1 to "),
    "no cores": (["--cpus-per-slot", "0"], "is '0'; allowed: a whole number, at least 1"),
    "a batch of nothing": (["--batch", "0"], "--batch: is '0'; allowed: auto, or a whole number, at least 1"),
    "a batch of words": (["--batch", "all"], "--batch: is 'all'; allowed: auto, or a whole number"),
    "a batch of less": (["--batch", "-2"], "--batch: is '-2'; allowed: auto, or a whole number"),
    "a batch of parts": (["--batch", "1.5"], "--batch: is '1.5'; allowed: auto, or a whole number"),
    "json of nothing": (["--json"], "--json: only with --plan or --status or --explain or --export"),
    "a limit of what does not run": (
        ["--status", "--limit", "2"],
        "--limit: not with --status; only with --plan",
    ),
    "a failure of what does not run": (["--plan", "--fail-fast"], "--fail-fast: not with --plan"),
    "no runs": (["--limit", "0"], "--limit: is '0'; allowed: a whole number, at least 1"),
    "watching without a terminal": (["--status", "--watch"], "--watch: needs a terminal"),
    "watching for programs": (["--status", "--watch", "--json"], "--watch: not with --json"),
    "an unknown field": (
        ["--only", "size < 5"],
        "--only: 'size' is not a field of runs; allowed: run_id, sweep",
    ),
    "a choice of nothing": (
        ["--only", "side == 7"],
        "--only 'side == 7' chooses none of the 9 runs of small",
    ),
    "an unknown run": (["--explain", "t0"], "--explain t0: no run of small, profile paper begins so"),
    "several runs": (["--explain", "k"], "--explain k: 4 runs begin so: k"),
    "a run without a name": (["--explain", ""], "--explain: is empty"),
    "an export to nowhere": (["--export", ""], "--export: is empty"),
    "a cluster in this process": (["--address", "auto", *INLINE], "--address: not with --executor inline"),
    "GPUs in this process": (["--gpus", "2", *INLINE], "--gpus: not with --executor inline"),
    "two things at once": (["--plan", "--status"], "not allowed with argument --plan"),
    "an export of nothing": (["--export", "there"], "has no results to export yet"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_gets_one_sentence_and_leaves_no_trace(case, sweep_file, tmp_path):
    arguments, expected = BAD_USE[case]
    assert expected in refused(sweep_file, "--out", tmp_path / "run", *arguments)
    assert list(tmp_path.iterdir()) == [sweep_file]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("field=3.0", "field=-3.0", "TransverseFieldIsing.field is -3.0"),
        ("samples=8", "samples=0", "Training.samples is 0"),
        ("levels=3", "levels=300", "more than the weights allow"),
        ("name=", "name=(", "not valid Python"),
        ("sweep =", "study =", "there is no `sweep`"),
    ],
)
def test_a_bad_sweep_file_gets_one_sentence_and_leaves_no_trace(old, new, expected, sweep_file, tmp_path):
    sweep_file.write_text(SWEEP_FILE.replace(old, new))
    sentence = refused(sweep_file, "--out", tmp_path / "run")
    assert sentence.startswith(str(sweep_file)) and expected in sentence
    assert list(tmp_path.iterdir()) == [sweep_file]


def test_an_out_that_is_a_file_is_refused_and_kept(sweep_file, tmp_path):
    (tmp_path / "letter").write_text("dear")
    assert "is a file" in refused(sweep_file, "--out", tmp_path / "letter")
    assert (tmp_path / "letter").read_text() == "dear"


def test_an_out_inside_a_file_is_refused(sweep_file, tmp_path):
    (tmp_path / "letter").write_text("dear")
    assert "letter/run cannot be written: Not a directory" in refused(
        sweep_file, "--out", tmp_path / "letter" / "run"
    )


def test_an_out_that_holds_something_else_is_refused_and_kept(sweep_file, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("dear")
    before = snapshot(tmp_path)
    assert "is not a run directory but not empty" in refused(sweep_file, "--out", tmp_path / "mine")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("instead", [(), ("--status",), ("--plan",), ("--export", "x")])
def test_an_out_of_another_sweep_is_refused_and_kept(instead, copy, sweep_file):
    sweep_file.write_text(SWEEP_FILE.replace('"small"', '"large"'))
    before = snapshot(copy)
    sentence = refused(sweep_file, "--out", copy, *instead)
    assert "belongs to sweep 'small' at profile 'paper', not to 'large' at 'paper'" in sentence
    assert snapshot(copy) == before


@pytest.mark.parametrize("table", ["states", "weights", "references"])
def test_a_truncated_table_stops_a_run_in_one_sentence_and_nothing_is_overwritten(table, copy, sweep_file):
    path = min((copy / "tables" / table).iterdir())
    path.write_bytes(path.read_bytes()[:40])
    before = snapshot(copy)
    assert refused(sweep_file, "--out", copy, *INLINE).startswith(f"{path} is truncated or damaged")
    assert snapshot(copy) == before


def test_a_second_driver_is_refused_with_the_first_ones_name(sweep_file, tmp_path):
    out = tmp_path / "run"
    first = start(sweep_file, "--out", out, *INLINE, step_seconds=0.2)
    try:
        wait_for(lambda: written(out) or list(out.glob("checkpoints/*")))
        sentence = refused(sweep_file, "--out", out, *INLINE)
        assert f"is in use by another driver (process {first.pid} on " in sentence
        shown = call(sweep_file, "--out", out, "--status")[1]
        assert re.search(rf"running: process {first.pid} on \S+ since \S+ \d\d:\d\d UTC\n", shown)
    finally:
        first.kill()
        first.communicate()


def test_an_export_over_something_else_is_refused(copy, sweep_file, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("dear")
    before = snapshot(tmp_path)
    assert "holds something else ('notes')" in refused(
        sweep_file, "--out", copy, "--export", tmp_path / "mine"
    )
    assert snapshot(tmp_path) == before


def test_an_export_that_cannot_be_made_is_one_sentence_and_a_killed_one_can_be_repeated(
    copy, sweep_file, tmp_path, capsys
):
    (tmp_path / "letter").write_text("not a folder")
    arguments = [str(sweep_file), "--out", str(copy), "--export"]
    assert main([*arguments, str(tmp_path / "letter" / "export")]) == 2
    captured = capsys.readouterr()
    assert "cannot be written" in captured.err + captured.out and "Traceback" not in captured.err
    target = tmp_path / "export"
    target.mkdir()
    (target / ".runs.parquet.partial").write_bytes(b"what a kill left")
    assert main([*arguments, str(target)]) == 0
    assert not (target / ".runs.parquet.partial").exists()
    assert read_study(target).states.height == read_study(copy).states.height


def test_dmrg_without_its_package_is_refused_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nqs.config.find_spec", lambda name: None)
    file = tmp_path / "energies.py"
    file.write_text(
        "from nqs.config import TransverseFieldIsing\n"
        "from orchestrator.plan import References, ReferenceScale\n"
        "sweep = References(name='energies', hamiltonians=[TransverseFieldIsing(side=6, field=0.7)],\n"
        "    bond_dimension=32, profiles={'paper': ReferenceScale()})\n"
    )
    assert main([str(file), "--out", str(tmp_path / "run"), *INLINE], engine=FakeEngine().engine()) == 2
    error = capsys.readouterr().err
    assert (
        error
        == f"{file}: DMRG needs physics-tenpy, an optional extra: pip install 'pruned-nqs[references]'\n"
    )
    assert not (tmp_path / "run" / "sweep.json").exists()
