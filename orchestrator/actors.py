"""Where tasks run: slots, the worker that a slot's process has, and the executors that feed them.

The only place that imports ray, and the only way from the driver to the training, which is imported
when the first task comes.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nqs.config import FlaxNetwork
from nqs.pruning import criterion_of
from nqs.tasks import Outcome, ReferenceOutcome, ReferenceTask, Task
from orchestrator.retries import ErrorClass

REPOSITORY = Path(__file__).resolve().parent.parent

_CACHE_BYTES = 2 * 1024**3
# Tasks and outcomes are a few MB; without a cap ray claims a third of the memory.
_OBJECT_STORE_BYTES = 256 * 1024**2

# For results of a few MB that have arrived at the slot's machine.
_TRANSFER_SECONDS = 60.0


@dataclass(frozen=True)
class Slot:
    """What one worker owns: a GPU, or some CPU cores.

    Attributes:
        cores: the cores it is bound to; empty where it isn't bound.
        threads: for the worker's products; 0 where a GPU does them.
    """

    index: int
    cores: tuple[int, ...] = ()
    threads: int = 1

    @property
    def name(self) -> str:
        return f"cpu {self.index}" if self.threads else f"gpu {self.index}"


class Failure(NamedTuple):
    """A task that ended without a result.

    Attributes:
        error_class: what failed; some may succeed at another try.
        message: first line of the error, and where it happened.
        traceback: for the run's log.
    """

    error_class: ErrorClass
    message: str
    traceback: str


# What a slot is given at once: a batch's tasks, or one reference energy; and what comes back for each.
Tasks = Sequence[Task | ReferenceTask]
Results = list[Outcome | ReferenceOutcome | Failure]


# The user's criteria, and networks with their sites: `Plan.own_code`.
OwnCode = Sequence[str | tuple[FlaxNetwork, int]]


class ExecutorError(RuntimeError):
    """Why tasks cannot run here, in one sentence."""


class Engine(NamedTuple):
    """The training that workers call."""

    advance_batch: Callable[[Sequence[Task], float], list[Outcome]]
    advance_reference: Callable[[ReferenceTask, float], ReferenceOutcome]
    memory_bytes: Callable[[], int | None]


def _advance_batch(tasks: Sequence[Task], seconds: float) -> list[Outcome]:
    from nqs.runs import advance_batch

    return advance_batch(tasks, seconds)


def _advance_reference(task: ReferenceTask, seconds: float) -> ReferenceOutcome:
    from nqs.references import advance_reference

    return advance_reference(task, seconds)


def _check_own(own: str | tuple[FlaxNetwork, int]) -> None:
    """Raise ValueError with the sentence on a user's criterion or network."""
    if isinstance(own, str):
        criterion_of(own)
        return
    from nqs.networks import check_own_network

    check_own_network(*own)


def _memory_bytes() -> int | None:
    from nqs.devices import memory_bytes

    return memory_bytes()


ENGINE = Engine(_advance_batch, _advance_reference, _memory_bytes)


class Worker:
    """Does a slot's tasks in its own process; keeps nothing between them but compiled programs.

    Args:
        own_code: the folder where a user's networks and pruning criteria are, besides what Python finds anyway.
    """

    def __init__(self, slot: Slot, engine: Engine = ENGINE, own_code: Path | None = None):
        if own_code is not None and str(own_code) not in sys.path:
            # Last: a file of the user's takes the place of no module.
            sys.path.append(str(own_code))
        if slot.cores:
            os.sched_setaffinity(0, slot.cores)
        # Before jax is imported: it reads them once.
        os.environ.update(slot_environment(slot))
        self._engine = engine

    def work_batch(self, tasks: Tasks, seconds: float) -> Results:
        """A stretch of a batch's trainings, or of a reference energy; results in the order of the tasks.

        A bug is the failure of every member: which of them it came from cannot be told.
        """
        try:
            if isinstance(tasks[0], ReferenceTask):
                return [self._engine.advance_reference(task, seconds) for task in tasks]
            return self._engine.advance_batch(tasks, seconds)
        except Exception as error:  # noqa: BLE001 (a task's bug ends its run, not the study)
            return [_failure(error)] * len(tasks)

    def problem_with(self, own_code: OwnCode) -> str | None:
        """A sentence on the first of the user's criteria and networks that cannot be used, after its field."""
        for own in own_code:
            try:
                _check_own(own)
            except ValueError as error:
                return f"{'methods' if isinstance(own, str) else 'networks'}: {error}"
        return None

    def memory_bytes(self) -> int | None:
        """Memory that trainings may use on the slot's device; None where it does not say."""
        return self._engine.memory_bytes()


def _failure(error: Exception) -> Failure:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
    message = f"{type(error).__name__}: {_first_line(error)} ({where})"
    return Failure(error_class(error), message, traceback.format_exc())


# XLA's status and the errors of CUDA's libraries, which allocate for themselves.
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY", "ALLOC_FAILED", "Unable to allocate")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def error_class(error: Exception) -> ErrorClass:
    """What an exception that a task raised says of it."""
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return "out_of_memory"
    if number in _FULL:
        return "disk"
    # XlaRuntimeError is a RuntimeError without a code, so the text decides.
    exhausted = isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    return "out_of_memory" if exhausted else "bug"


def loss(slot: Slot, error: Exception, killed_for_memory: bool) -> Failure:
    """Why a slot's process did not answer.

    Args:
        error: ray's.
        killed_for_memory: whether the kernel has ended a process for memory meanwhile; ray can't tell whose it was.
    """
    from ray.exceptions import LocalRayletDiedError, NodeDiedError, OutOfMemoryError

    text = str(error)
    if killed_for_memory or isinstance(error, OutOfMemoryError):
        kind = "out_of_memory"
    elif isinstance(error, (NodeDiedError, LocalRayletDiedError)) or "node has died" in text:
        kind = "node_lost"
    else:
        kind = "actor_lost"
    # Where the process did not get as far as its first task, the last line says why.
    lines = text.strip().splitlines() or ["no message"]
    reason = lines[-1 if getattr(error, "actor_init_failed", False) else 0]
    return Failure(kind, f"{type(error).__name__}: {reason} ({slot.name})", text)


def _killed_for_memory() -> int:
    """Processes that this machine's kernel has ended since it started because memory ran out; 0 where it doesn't say."""
    try:
        counters = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in counters if line.startswith("oom_kill "))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no message").splitlines()[0]


def slot_environment(slot: Slot) -> dict[str, str]:
    """The environment variables of a slot's process: threads that don't fight, and its compilation cache."""
    cache = _compilation_cache(slot)
    variables = {
        "JAX_ENABLE_X64": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(_CACHE_BYTES),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        # XLA's own caches put the directory's name into every program's key, and no copy would be found.
        "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
    }
    if slot.threads:
        return variables | {"JAX_PLATFORMS": "cpu", **_thread_environment(slot.threads)}
    # A GPU's default for float32 products is TF32, with three digits: too few for θ = W s.
    return variables | {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}


def _thread_environment(threads: int) -> dict[str, str]:
    variables = {
        name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    }
    own = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}"
    given = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag not in own]
    return variables | {"XLA_FLAGS": " ".join([*given, own])}


def _compilation_cache(slot: Slot) -> Path:
    """The slot's cache of compiled programs; a new slot starts with a copy of the fullest one."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = "cpu" if slot.threads else "gpu"
    caches = home / "pruned-nqs" / "jax"
    own = caches / f"{kind}-{slot.index}"
    if not own.exists():
        others = [path for path in caches.glob(f"{kind}-*") if path.is_dir()]
        fullest = max(others, key=lambda path: sum(1 for _ in path.iterdir()), default=None)
        if fullest is not None:
            # Another slot may be writing there: a file that goes meanwhile is not missed.
            _copy_what_is_there(fullest, own)
    own.mkdir(parents=True, exist_ok=True)
    return own


def _copy_what_is_there(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    # Programs and their access times, without the lock.
    for path in [*source.glob("*-atime"), *source.glob("*-cache")]:
        try:
            shutil.copy2(path, target / path.name)
        except OSError:
            continue


def cpu_slots(cpus_per_slot: int) -> list[Slot]:
    """As many slots as the cores of this process allow.

    Raises:
        ValueError: a slot wants more cores than there are.
    """
    cores = sorted(os.sched_getaffinity(0))
    count = len(cores) // cpus_per_slot
    if count < 1:
        raise ValueError(
            f"--cpus-per-slot is {cpus_per_slot}; allowed: 1 to {len(cores)}, the cores of this machine"
        )
    return [
        Slot(index, tuple(cores[index * cpus_per_slot : (index + 1) * cpus_per_slot]), cpus_per_slot)
        for index in range(count)
    ]


class InlineExecutor:
    """One slot in this process; submitted tasks run when their results are asked for."""

    def __init__(self, cpus_per_slot: int = 1, engine: Engine = ENGINE, own_code: Path | None = None):
        # Not bound to cores: the process is the driver's too.
        slot = Slot(0, (), cpus_per_slot)
        self.slots = [slot]
        self._worker = Worker(slot, engine, own_code)
        self._submitted: tuple[Tasks, float] | None = None

    def problem_with(self, own_code: OwnCode) -> str | None:
        """As `Worker.problem_with`."""
        return self._worker.problem_with(own_code)

    def memory_bytes(self) -> None:
        """None: a CPU slot, where batches do not pay."""

    def submit(self, slot: Slot, tasks: Tasks, seconds: float) -> None:
        self._submitted = (tasks, seconds)

    def wait(self, timeout_seconds: float) -> list[tuple[Slot, Results]]:
        """The submitted tasks' results, however long they take."""
        tasks, seconds = self._submitted
        self._submitted = None
        return [(self.slots[0], self._worker.work_batch(tasks, seconds))]

    def replace(self, slot: Slot) -> None:
        """Nothing: the process is the driver's own."""

    def close(self) -> None:
        """Nothing to give back."""


class RayExecutor:
    """One ray actor a slot: GPUs where there are some, else CPU slots.

    Args:
        gpus: GPUs to use; None: all that ray finds, 0: CPU slots.
        cpus_per_slot: cores of each CPU slot.
        own_code: as of `Worker`.

    Raises:
        ExecutorError: ray does not start on this machine.
    """

    def __init__(
        self,
        gpus: int | None = None,
        cpus_per_slot: int = 1,
        engine: Engine = ENGINE,
        own_code: Path | None = None,
    ):
        # Ray prints a paragraph for each process that ends; the loop says it in a line. Read when ray is imported.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        import ray

        self._ray = ray
        self._engine, self._own_code = engine, own_code
        self._gpus, self._cpus_per_slot = gpus, cpus_per_slot
        slots = cpu_slots(cpus_per_slot)
        self._cpus = len(slots) * cpus_per_slot
        self._connect()
        found = int(ray.cluster_resources().get("GPU", 0))
        self.slots = [Slot(index, (), 0) for index in range(found)] if found else slots
        self._actors = {slot: self._start(slot) for slot in self.slots}
        self._pending: dict = {}
        self._lost: list[tuple[Slot, Results]] = []
        self._broken: set[Slot] = set()
        self._killed_for_memory = _killed_for_memory()

    def _connect(self) -> None:
        try:
            with _environment_for_ray(self._cpus_per_slot), _signal_handlers_kept():
                self._ray.init(
                    address="local",  # and not the cluster that RAY_ADDRESS may name
                    num_cpus=self._cpus,
                    num_gpus=self._gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="error",
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
        except Exception as error:
            raise ExecutorError(
                f"ray did not start ({_first_line(error)}); --executor inline runs without it"
            ) from error

    def _start(self, slot: Slot):
        resources = {"num_cpus": slot.threads} if slot.threads else {"num_gpus": 1, "num_cpus": 0}
        # A lost actor is replaced here and not by ray, since the loss is recorded.
        return self._ray.remote(max_restarts=0, **resources)(Worker).remote(
            slot, self._engine, self._own_code
        )

    def replace(self, slot: Slot) -> None:
        """End a slot's process, whatever it does, and start another; its task is no longer waited for."""
        self._pending = {ref: work for ref, work in self._pending.items() if work[0] != slot}
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actors[slot])
        self._broken.discard(slot)
        self._actors[slot] = self._start(slot)

    def problem_with(self, own_code: OwnCode) -> str | None:
        """As `Worker.problem_with`, in a slot.

        Raises:
            ExecutorError: the slot's process ended when it was asked.
        """
        actor = self._actors[self.slots[0]]
        try:
            return self._ray.get(actor.problem_with.remote(own_code))
        except self._ray.exceptions.RayError as error:
            raise ExecutorError(f"a slot ended while it imported {own_code}: {_first_line(error)}") from error

    def memory_bytes(self) -> int | None:
        """Memory of the smallest GPU; None on CPU slots, and where a GPU does not say.

        Raises:
            ExecutorError: a slot's process ended, or failed, when it was asked.
        """
        if any(slot.threads for slot in self.slots):
            return None
        try:
            found = self._ray.get([actor.memory_bytes.remote() for actor in self._actors.values()])
        except self._ray.exceptions.RayError as error:
            raise ExecutorError(
                f"a GPU slot does not say how much memory it has ({_first_line(error)}); "
                "--batch N says how many replicas a program trains"
            ) from error
        return None if None in found else min(found)

    def submit(self, slot: Slot, tasks: Tasks, seconds: float) -> None:
        try:
            if self._node_died():
                raise self._ray.exceptions.LocalRayletDiedError  # the next wait starts ray anew
            if slot in self._broken:
                self.replace(slot)
            reference = self._actors[slot].work_batch.remote(tasks, seconds)
        except (self._ray.exceptions.RayError, OSError) as error:
            self._lost.append((slot, [self._loss(slot, error)] * len(tasks)))
            return
        self._pending[reference] = (slot, len(tasks))

    def wait(self, timeout_seconds: float) -> list[tuple[Slot, Results]]:
        """Results that have come in, at the latest after the timeout."""
        if self._node_died():
            return self._restart()
        results, self._lost = self._lost, []
        if not results:
            ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=timeout_seconds)
            results = [self._results(reference) for reference in ready]
        return results

    def _node_died(self) -> bool:
        """Whether one of ray's own processes that were started here has ended."""
        node = self._ray._private.worker._global_node
        return any(kind in ("raylet", "gcs_server") for kind, _ in node.dead_processes())

    def _restart(self) -> list[tuple[Slot, Results]]:
        """Start ray anew; every task that was under way is lost.

        Raises:
            ExecutorError: ray does not start.
        """
        failure = Failure("node_lost", "ray's processes on this machine ended, and ray was started again", "")
        lost = [(slot, [failure] * count) for slot, count in self._pending.values()] + self._lost
        self._pending, self._lost, self._broken = {}, [], set()
        self._ray.shutdown()
        self._connect()
        self._actors = {slot: self._start(slot) for slot in self.slots}
        return lost

    def _results(self, reference) -> tuple[Slot, Results]:
        slot, count = self._pending.pop(reference)
        try:
            # It is there already; where ray on this machine has just ended it never comes.
            return slot, self._ray.get(reference, timeout=_TRANSFER_SECONDS)
        except self._ray.exceptions.RayTaskError as error:
            return slot, [_failure(error)] * count  # a result that cannot travel ends its run, not the study
        except self._ray.exceptions.RayError as error:
            # Replaced when it is needed: where all of ray is ending, asking it now would block for a minute.
            self._broken.add(slot)
            return slot, [self._loss(slot, error)] * count
        except Exception as error:  # noqa: BLE001 (as above, where it cannot be read)
            return slot, [_failure(error)] * count

    def _loss(self, slot: Slot, error: Exception) -> Failure:
        before, self._killed_for_memory = self._killed_for_memory, _killed_for_memory()
        return loss(slot, error, self._killed_for_memory > before)

    def close(self) -> None:
        """Stop the actors and ray."""
        self._ray.shutdown()


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Ray puts its own in place of the driver's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment_for_ray(threads: int) -> Iterator[None]:
    """What ray's processes inherit while they are started.

    Inherited, not passed as a runtime_env: that would start an agent and fresh processes, seconds.
    """
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    variables = {
        "PYTHONPATH": path,  # the packages may have been found through the working directory alone
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Ray's 15 gives a slot a thirtieth of its core while anything else runs there: minutes a step.
        "RAY_worker_niceness": os.environ.get("RAY_worker_niceness", "0"),
        # numpy reads these when a worker starts, before it knows its slot.
        **_thread_environment(threads),
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
