"""Slots: their own cores or GPU, their own cache; and ray gives them their tasks from any directory."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from nqs.config import ReferenceJob, TransverseFieldIsing
from nqs.tasks import ReferenceTask
from orchestrator import slots
from orchestrator.actors import Engine, ExecutorError, RayExecutor, Worker
from orchestrator.failures import Failure
from orchestrator.plan import Regrowth
from orchestrator.slots import Slot, cpu_slots, slot_environment
from orchestrator.store import read_study
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import REPOSITORY, assert_same_tables, run_study, small_plan

ANY_TASK = ReferenceTask(ReferenceJob(hamiltonian=TransverseFieldIsing(side=2, field=1.0)))


@contextmanager
def ray_executor(**options):
    executor = RayExecutor(**options)
    try:
        yield executor
    finally:
        executor.close()


def results_of(executor, count: int) -> dict[Slot, object]:
    """Of slots that were given one task each: its result."""
    found = {}
    while len(found) < count:
        found |= {slot: result for slot, (result,) in executor.wait(1.0)}
    return found


def probe(task, seconds) -> dict:
    names = (
        "XLA_FLAGS",
        "OMP_NUM_THREADS",
        "JAX_PLATFORMS",
        "CUDA_VISIBLE_DEVICES",
        "JAX_COMPILATION_CACHE_DIR",
        "XLA_CLIENT_MEM_FRACTION",
    )
    return {
        "niceness": os.nice(0),
        "cores": sorted(os.sched_getaffinity(0)),
        "jax": "jax" in sys.modules,
        "environment": {name: os.environ.get(name) for name in names},
    }


PROBE = Engine(None, probe, None)


def test_cpu_slots_share_no_core_no_cache_and_start_before_jax_is_imported():
    with ray_executor(gpus=0, engine=PROBE) as executor:
        for slot in executor.slots:
            executor.submit(slot, [ANY_TASK], 1.0)
        found = results_of(executor, len(executor.slots))
    cores = [core for result in found.values() for core in result["cores"]]
    assert sorted(cores) == sorted(os.sched_getaffinity(0))
    caches = {result["environment"]["JAX_COMPILATION_CACHE_DIR"] for result in found.values()}
    assert len(caches) == len(found)
    for result in found.values():
        assert result["niceness"] == os.nice(0)
        assert not result["jax"]
        assert result["environment"]["OMP_NUM_THREADS"] == "1"
        assert result["environment"]["JAX_PLATFORMS"] == "cpu"
        assert "--xla_cpu_multi_thread_eigen=false" in result["environment"]["XLA_FLAGS"]


def test_slots_that_share_a_gpu_share_its_memory_and_say_once_that_jax_has_only_the_cpu():
    said = []
    engine = PROBE._replace(devices=lambda: ["cpu:cpu"])
    with ray_executor(gpus=1, slots_per_gpu=2, engine=engine, say=said.append) as executor:
        assert [slot.name for slot in executor.slots] == ["gpu 0.0", "gpu 0.1"]
        for slot in executor.slots:
            executor.submit(slot, [ANY_TASK], 1.0)
        found = results_of(executor, 2)
        with pytest.raises(
            ExecutorError, match="slot gpu 0.0 sees 2 GPUs .gpu:A, gpu:B. where ray gave it one"
        ):
            executor._check_devices(executor.slots[0], ["gpu:A", "gpu:B"])
    environments = [result["environment"] for result in found.values()]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == ["0", "0"]
    assert [environment["XLA_CLIENT_MEM_FRACTION"] for environment in environments] == ["0.4500"] * 2
    (sentence,) = said
    assert sentence.startswith("GPU slots train on the CPU: jax finds no GPU there")


LISTENING = """
import json, os, psutil
from orchestrator.actors import RayExecutor
executor = RayExecutor(gpus=0)
processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
sockets = [each for process in processes for each in process.net_connections("inet")]
executor.close()
print(json.dumps([each.laddr.ip for each in sockets if each.status == "LISTEN"]))
"""


def test_nothing_of_a_local_study_listens_to_other_machines():
    """In a process of its own: ray decides this when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], check=True, capture_output=True, text=True, cwd=REPOSITORY
    )
    addresses = json.loads(done.stdout.splitlines()[-1])
    assert len(addresses) >= 5
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


def test_gpu_slots_see_one_gpu_each():
    """Ray hands out GPUs by number, also on a machine that has none."""
    with ray_executor(gpus=2, engine=PROBE) as executor:
        assert [slot.name for slot in executor.slots] == ["gpu 0", "gpu 1"]
        for slot in executor.slots:
            executor.submit(slot, [ANY_TASK], 1.0)
        found = results_of(executor, 2)
    assert {result["environment"]["CUDA_VISIBLE_DEVICES"] for result in found.values()} == {"0", "1"}
    assert {result["environment"]["JAX_PLATFORMS"] for result in found.values()} == {None}


def test_ray_gives_the_tables_of_one_process_though_two_actors_die_on_the_way(tmp_path, monkeypatch):
    # With a branch back up, whose tickets wait for each other.
    plan = small_plan(regrowth=Regrowth(turns=[8.3]))
    run_study(tmp_path / "inline", plan)
    grave = tmp_path / "grave"
    grave.mkdir()
    for name in ("first", "second"):
        (grave / name).touch()
    # The packages must be found from anywhere.
    monkeypatch.chdir(tmp_path)
    with ray_executor(gpus=0, engine=FakeEngine(dies_while=grave).engine()) as executor:
        run_study(tmp_path / "ray", plan, executor=executor)
    study = read_study(tmp_path / "ray")
    # Either both slots lost one, or one slot lost two at once: two files, two deaths.
    assert 1 <= study.attempts.height <= 2
    assert set(study.attempts["error_class"]) == {"actor_lost"}
    assert_same_tables(read_study(tmp_path / "inline"), study)


@pytest.mark.parametrize("deaths", [1, 9])
def test_a_slot_whose_process_ends_as_it_starts_is_started_again_twice(deaths, tmp_path):
    for number in range(deaths):
        (tmp_path / str(number)).touch()

    def devices():
        for file in tmp_path.iterdir():
            file.unlink()
            os._exit(1)
        return ["gpu: made up"]

    engine = FakeEngine().engine()._replace(devices=devices)
    if deaths == 1:
        executor = RayExecutor(gpus=1, engine=engine)
        executor.close()
        assert len(executor.slots) == 1
    else:
        with pytest.raises(ExecutorError, match=r"ended at once, the last one with: \S+"):
            RayExecutor(gpus=1, engine=engine)
        assert len(list(tmp_path.iterdir())) == deaths - 3


def test_a_bug_comes_back_as_a_value_with_its_first_line_and_place():
    def bug(task, seconds):
        raise ZeroDivisionError("one\ntwo")

    (failure,) = Worker(Slot(0), Engine(None, bug, None)).work_batch([ANY_TASK], 1.0)
    assert isinstance(failure, Failure)
    assert failure.error_class == "bug"
    assert failure.message.startswith("ZeroDivisionError: one (test_actors.py:")
    assert "two" in failure.traceback


def test_slots_divide_the_cores_and_refuse_more_than_there_are(monkeypatch):
    monkeypatch.setattr(slots.os, "sched_getaffinity", lambda _: {3, 1, 5, 7, 9}, raising=False)
    assert [slot.cores for slot in cpu_slots(2)] == [(1, 3), (5, 7)]
    with pytest.raises(ValueError, match="--cpus-per-slot is 6; allowed: 1 to 5"):
        cpu_slots(6)


def test_a_new_slots_cache_starts_with_the_programs_of_the_fullest_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caches = tmp_path / "pruned-nqs" / "jax"
    for name, programs in (("cpu-0", 1), ("cpu-1", 3), ("gpu-0", 9)):
        (caches / name).mkdir(parents=True)
        for program in range(programs):
            (caches / name / f"p{program}-cache").write_bytes(b"program")
            (caches / name / f"p{program}-atime").write_bytes(b"time")
    assert slot_environment(Slot(2))["JAX_COMPILATION_CACHE_DIR"] == str(caches / "cpu-2")
    assert {path.name for path in (caches / "cpu-2").iterdir()} == {
        path.name for path in (caches / "cpu-1").iterdir()
    }
    # One that has its own keeps it.
    slot_environment(Slot(0))
    assert len(list((caches / "cpu-0").iterdir())) == 2


def test_a_users_own_xla_flags_are_kept(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=there")
    flags = slot_environment(Slot(0))["XLA_FLAGS"].split()
    assert flags[0] == "--xla_dump_to=there"
    monkeypatch.setenv("XLA_FLAGS", " ".join(flags))
    assert slot_environment(Slot(0))["XLA_FLAGS"].split() == flags


def test_a_gpu_slot_asks_for_full_float32_products(tmp_path, monkeypatch):
    """The default there is TF32, with three digits of θ = W s."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gpu, cpu = slot_environment(Slot(0, threads=0)), slot_environment(Slot(0))
    assert gpu["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert (gpu.get("JAX_PLATFORMS"), cpu["JAX_PLATFORMS"]) == (None, "cpu")
