"""kill −9 of driver, actors and ray's own processes, over and over: the tables end as an undisturbed study's.

    python -m benchmarks.chaos --kills 100 --seed 1 [--batch N] [--gpus N]

A real study (3 × 3 spins, trajectories and tickets) runs through the command line on GPUs that ray makes
up, so on any machine. At random moments one process is killed; whenever the driver has ended, by a kill or by
itself, the same command goes on. When a study ends, its tables are compared with those of an undisturbed one, and
another begins until there were enough kills. All is in a new folder under the system's temporary ones.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import polars as pl

from orchestrator.store import Study, read_study

REPOSITORY = Path(__file__).resolve().parent.parent
SWEEP = """
from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep, Tickets

sweep = Sweep(
    name="chaos",
    hamiltonians=[TransverseFieldIsing(side=3, field=h) for h in (1.0, 3.04438)],
    networks=[FeedForward(width_per_spin=4)],
    training=Training(samples=64, learning_rate=8e-3, diagonal_shift=1e-4),
    methods=["imp_wr"],
    levels=4,
    pruning_ratio=0.2,
    replicates=2,
    tickets=Tickets(variants=["init_imp", "rand_imp", "init_rand"], levels=[2, 4]),
    profiles={"paper": Profile(pretraining_steps=300, steps_per_level=150, ticket_steps=150)},
)
"""
# Columns in which a resumed study may differ from an undisturbed one: times and places.
MAY_DIFFER = (
    "wall_seconds",
    "finished_at",
    "device",
    "code_version",
    "seconds",
    "peak_memory_bytes",
    "provenance",
)
# The longest pause before the next kill, in times that the study takes undisturbed: some kills come while ray
# starts, and most of the others while trainings run.
LONGEST_PAUSE = 0.6
# After which a driver that writes nothing, though nobody is killed, counts as stuck.
STUCK_SECONDS = 300.0
# A kill of the driver or of ray's processes costs a start; of an actor less. So actors more often.
KINDS = {"driver": 4, "actor": 8, "raylet": 1.5, "gcs_server": 1.5}


class Driver:
    """The command line on one run directory, started again whenever it has ended."""

    def __init__(self, sweep: Path, out: Path, options: list[str]):
        self._command = [sys.executable, "-m", "orchestrator", str(sweep), "--out", str(out), *options]
        # Compiled programs beside the results, not among the user's.
        self._environment = os.environ | {"XDG_CACHE_HOME": str(out.with_name("cache"))}
        self.log = out.with_suffix(".log")
        self.starts = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=REPOSITORY,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill_one(self, kind: str, generator: random.Random) -> bool:
        """Kill a process of a kind; whether there was one."""
        if not (victims := self._victims()[kind]):
            return False
        try:
            os.kill(generator.choice(victims), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _victims(self) -> dict[str, list[int]]:
        """Process ids by kind: of the driver's session, so nobody else's."""
        found: dict[str, list[int]] = {kind: [] for kind in KINDS}
        if self.process.poll() is None:
            found["driver"].append(self.process.pid)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                head, rest = stat.read_text().rsplit(")", 1)
                title = stat.with_name("cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            except OSError:
                continue
            pid, name = head.split(" (", 1)
            if rest.split()[3] != str(self.process.pid):
                continue
            if title.startswith("ray::Worker"):
                found["actor"].append(int(pid))
            elif name in ("raylet", "gcs_server"):
                found[name].append(int(pid))
        return found


def _kind(generator: random.Random) -> str:
    return generator.choices(list(KINDS), list(KINDS.values()))[0]


def differences(one: Study, other: Study) -> tuple[int, list[str]]:
    """Rows compared, and the tables that differ in a column that must not."""
    rows, differing = 0, []
    for table in ("runs", "states", "steps", "all_weights", "references"):
        left, right = (_comparable(getattr(study, table)) for study in (one, other))
        rows += left.height
        if left.is_empty() or not left.equals(right):
            differing.append(table)
    return rows, differing


def _comparable(frame: pl.DataFrame) -> pl.DataFrame:
    keys = ("run_id", "level", "step", "layer", "hamiltonian_parameters", "method", "bond_dimension")
    return frame.drop(MAY_DIFFER, strict=False).sort([key for key in keys if key in frame.columns])


def undisturbed(sweep: Path, out: Path, options: list[str]) -> float:
    """Run the study without kills; its seconds."""
    began = time.monotonic()
    driver = Driver(sweep, out, options)
    if driver.process.wait() != 0:
        sys.exit(f"the undisturbed study ended with {driver.process.returncode}; see {driver.log}")
    return time.monotonic() - began


def disturbed(
    driver: Driver, out: Path, kills: int, pause: float, generator: random.Random, counts: Counter
) -> int:
    """Let the driver end its study under at most so many kills; how many there were."""
    done = 0
    next_kill, kind = time.monotonic() + generator.uniform(0, pause), _kind(generator)
    written, heard = 0, time.monotonic()
    while True:
        time.sleep(0.05)
        code = driver.process.poll()
        if code == 0:
            counts["starts"] += driver.starts
            return done
        if code is not None:
            ended = "killed" if code == -signal.SIGKILL else f"exit code {code}"
            counts[f"ended: {ended}"] += 1
            driver.start()
            heard = time.monotonic()
        now = time.monotonic()
        # A kind that is not there yet is waited for: actors start last.
        if done < kills and now >= next_kill and driver.kill_one(kind, generator):
            done += 1
            counts[f"kill: {kind}"] += 1
            next_kill, kind = now + generator.uniform(0, pause), _kind(generator)
            heard = now
        files = sum(1 for _ in out.rglob("*.parquet")) if out.exists() else 0
        written, heard = (files, now) if files != written else (written, heard)
        if now - heard > STUCK_SECONDS:
            driver.process.kill()
            sys.exit(f"nothing was written for {STUCK_SECONDS:.0f} s; see {driver.log}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", default="1", help="as the command line's; composition stays the plan's")
    parser.add_argument("--gpus", type=int, default=3)
    asked = parser.parse_args()
    options = ["--gpus", str(asked.gpus), "--batch", asked.batch]
    generator, counts = random.Random(asked.seed), Counter()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    sweep = folder / "chaos.py"
    sweep.write_text(SWEEP)
    print(f"in {folder.name} of the system's temporary folder; {' '.join(options)}", flush=True)
    # Twice: the first compiles.
    undisturbed(sweep, folder / "first", options)
    alone = undisturbed(sweep, folder / "undisturbed", options)
    expected = read_study(folder / "undisturbed")
    print(f"undisturbed: {alone:.0f} s", flush=True)
    kills = studies = rows = 0
    wrong: list[str] = []
    began = time.monotonic()
    attempts = Counter()
    while kills < asked.kills:
        studies += 1
        out = folder / f"study{studies}"
        driver, pause = Driver(sweep, out, options), LONGEST_PAUSE * alone
        kills += disturbed(driver, out, asked.kills - kills, pause, generator, counts)
        found = read_study(out)
        compared, differing = differences(expected, found)
        rows += compared
        wrong += [f"study {studies}: {table}" for table in differing]
        attempts.update(found.attempts["error_class"].to_list())
        print(
            f"study {studies}: {kills} kills so far, {compared} rows compared, differing: {differing or 'none'}",
            flush=True,
        )
    seconds = time.monotonic() - began
    for name in sorted(counts):
        print(f"{name}: {counts[name]}")
    print(f"studies: {studies}; resumes: {counts['starts'] - studies}; attempts written: {dict(attempts)}")
    print(f"rows compared: {rows}; tables that differ: {wrong or 'none'}")
    print(f"time lost per kill: {(seconds - studies * alone) / kills:.1f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
