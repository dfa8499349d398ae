"""Where tasks run: the worker that a slot's process has, and the executors that feed the slots.

The only place that imports ray, and the only way from the driver to the training, which is imported
when the first task comes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from nqs.config import FlaxNetwork
from nqs.pruning import criterion_of
from nqs.tasks import Outcome, ReferenceOutcome, ReferenceTask, Task
from orchestrator.cluster import (
    Node,
    alive,
    cpu_slots_of,
    difference,
    gpu_slots_of,
    report,
    sources,
    unpacked,
    why_unreachable,
)
from orchestrator.failures import Failure, failure_of, first_line, killed_for_memory, last_line
from orchestrator.provenance import what_decides_numbers
from orchestrator.slots import (
    Slot,
    caches,
    cpu_slots,
    environment_for_ray,
    gpu_slots,
    no_gpu_sentence,
    slot_environment,
    thread_environment,
    too_many_devices_sentence,
)

# Tasks and outcomes are a few MB; without a cap ray claims a third of the memory.
_OBJECT_STORE_BYTES = 256 * 1024**2
# For results of a few MB that have arrived at the slot's machine.
_TRANSFER_SECONDS = 60.0
# How long slots and nodes may take to come up, jax's start on a GPU included.
_START_SECONDS = 120.0
# How long the first slot waits for the others before work starts.
_LATER_SLOTS_SECONDS = 30.0
# A slot whose process ends as often while it starts is given up.
_MOST_STARTS = 3
# Nodes of a cluster come and go; without any slot we wait as long for one.
_LOOK_FOR_NODES_SECONDS = 10.0
_WITHOUT_SLOTS_SECONDS = 600.0

# What a slot is given at once: a batch's tasks, or one reference energy; and what comes back for each.
Tasks = Sequence[Task | ReferenceTask]
Results = list[Outcome | ReferenceOutcome | Failure]
# The user's criteria, and networks with their sites: `Plan.own_code`.
OwnCode = Sequence[str | tuple[FlaxNetwork, int]]


class ExecutorError(RuntimeError):
    """Why tasks cannot run here, in one sentence."""


class ClusterError(ExecutorError):
    """Why a cluster cannot be joined, in one sentence."""


class Engine(NamedTuple):
    """The training that workers call."""

    advance_batch: Callable[[Sequence[Task], float], list[Outcome]]
    advance_reference: Callable[[ReferenceTask, float], ReferenceOutcome]
    memory_bytes: Callable[[], int | None]
    # Platform and kind of every device that the process sees; None: not asked.
    devices: Callable[[], list[str]] | None = None


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


def _devices() -> list[str]:
    from nqs.devices import names

    return names()


ENGINE = Engine(_advance_batch, _advance_reference, _memory_bytes, _devices)


class Worker:
    """Does a slot's tasks in its own process; keeps nothing between them but compiled programs.

    Args:
        own_code: the folder where a user's networks and pruning criteria are, besides what Python finds anyway;
            or its files, as `sources`, where the folder may be on another machine.
    """

    def __init__(
        self, slot: Slot, engine: Engine = ENGINE, own_code: Path | Mapping[str, bytes] | None = None
    ):
        if isinstance(own_code, Mapping):
            own_code = unpacked(own_code, caches())
        if own_code is not None and str(own_code) not in sys.path:
            # Last: a file of the user's takes the place of no module.
            sys.path.append(str(own_code))
        if slot.cores:
            os.sched_setaffinity(0, slot.cores)
        # Before jax is imported: it reads them once.
        os.environ.update(slot_environment(slot))
        self._slot, self._engine = slot, engine

    def devices(self) -> list[str]:
        """Platform and kind of what a GPU slot sees; a CPU slot has nothing to show."""
        return [] if self._slot.threads or self._engine.devices is None else self._engine.devices()

    def work_batch(self, tasks: Tasks, seconds: float) -> Results:
        """A stretch of a batch's trainings, or of a reference energy; results in the order of the tasks.

        A bug is the failure of every member: which of them it came from cannot be told.
        """
        try:
            if isinstance(tasks[0], ReferenceTask):
                return [self._engine.advance_reference(task, seconds) for task in tasks]
            return self._engine.advance_batch(tasks, seconds)
        except Exception as error:  # noqa: BLE001 (a task's bug ends its run, not the study)
            return [failure_of(error)] * len(tasks)

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
    """One ray actor a slot: GPUs where there are some, else CPU slots; of this machine, or of a cluster.

    A slot is in `slots` while its process is up. On a cluster they come and go with the nodes.

    Args:
        gpus: GPUs to use; None: all that ray finds, 0: CPU slots.
        cpus_per_slot: cores of each CPU slot.
        own_code: the folder of `Worker`.
        slots_per_gpu: slots that share a GPU and its memory.
        address: of a running cluster, `auto` or host:port; None: ray is started on this machine, for it alone.
        say: takes sentences on slots and nodes that a person should read.

    Raises:
        ClusterError: the cluster cannot be joined.
        ExecutorError: ray does not start, the cluster gives no slot, or a node of it has other code or versions
            than this process.
    """

    def __init__(
        self,
        gpus: int | None = None,
        cpus_per_slot: int = 1,
        engine: Engine = ENGINE,
        own_code: Path | None = None,
        slots_per_gpu: int = 1,
        address: str | None = None,
        say: Callable[[str], None] = lambda sentence: None,
    ):
        self._gpus, self._cpus_per_slot, self._slots_per_gpu = gpus, cpus_per_slot, slots_per_gpu
        self._engine = engine
        self.slots: list[Slot] = []
        self._actors: dict[Slot, object] = {}
        self._pending: dict = {}
        self._lost: list[tuple[Slot, Results]] = []
        self._starting: dict = {}
        # Their processes ended; started again when it is known that ray is well.
        self._broken: set[Slot] = set()
        self._killed_for_memory = killed_for_memory()
        self._failed_starts: Counter[Slot] = Counter()
        self._start_failure = "none was started"
        self._say, self._told = say, set()
        self._is_cluster = address is not None
        self._nodes: dict[str, Node] = {}
        self._looked_at = self._had_slots_at = time.monotonic()
        # Ray prints a paragraph for each process that ends; the loop says it in a line. Read when ray is imported.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        if address is None:
            self._own_code = own_code
            slots = self._start_ray()
        else:
            # Other machines do not have the folder.
            self._own_code = None if own_code is None else sources(own_code)
            slots = self._join(address)
        try:
            for slot in slots:
                self._start(slot)
            self._wait_for_first_slots(time.monotonic() + _START_SECONDS)
        except ExecutorError:
            self.close()
            raise

    def _start_ray(self) -> list[Slot]:
        """Ray on this machine, with nothing that listens to another; the slots it gives."""
        slots = cpu_slots(self._cpus_per_slot)
        try:
            with environment_for_ray(self._cpus_per_slot), _signal_handlers_kept():
                import ray

                self._ray = ray
                ray.init(
                    address="local",  # and not the cluster that RAY_ADDRESS may name
                    num_cpus=len(slots) * self._cpus_per_slot,
                    num_gpus=self._gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="error",
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
        except Exception as error:
            raise ExecutorError(
                f"ray did not start ({first_line(error)}); --executor inline runs without it"
            ) from error
        found = int(ray.cluster_resources().get("GPU", 0))
        return gpu_slots(found, self._slots_per_gpu) or slots

    # --- a cluster's nodes

    def _join(self, address: str) -> list[Slot]:
        """Join a running cluster; the slots of its nodes."""
        if (problem := why_unreachable(address)) is not None:
            raise ClusterError(problem)
        import ray

        self._ray = ray
        with _signal_handlers_kept():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="error",
                # Nodes were started without environment_for_ray; numpy must find its threads all the same.
                runtime_env={"env_vars": thread_environment(self._cpus_per_slot)},
            )
        nodes = alive(ray.nodes())
        self._nodes = {node.node_id: node for node in nodes}
        slots, problems = self._slots_on(nodes)
        if not problems and not slots:
            resources = "; ".join(f"{node.name} has {node.cpus} CPUs and {node.gpus} GPUs" for node in nodes)
            wanted = f"--gpus {self._gpus}" if self._gpus else f"--cpus-per-slot {self._cpus_per_slot}"
            problems = [f"--address {address}: no node gives a slot with {wanted}: {resources or 'no node'}"]
        if problems:
            self.close()
            raise ExecutorError("\n".join(problems))
        return slots

    def _slots_on(self, nodes: list[Node]) -> tuple[list[Slot], list[str]]:
        """Slots of nodes that fit this study, and a sentence on each that does not."""
        on_gpus = self._gpus != 0 and any(node.gpus for node in self._nodes.values())
        useful = [node for node in nodes if (node.gpus if on_gpus else node.cpus >= self._cpus_per_slot)]
        asked = [self._pinned(node.node_id, num_cpus=0, max_retries=0)(report).remote() for node in useful]
        here, slots, problems = what_decides_numbers(), [], []
        for node, reference in zip(useful, asked, strict=True):
            try:
                there = self._ray.get(reference, timeout=_START_SECONDS)
            except self._ray.exceptions.RayError as error:
                problems.append(
                    f"node {node.name} cannot run this program ({last_line(error)}); install it there as it is here"
                )
                continue
            if (problem := difference(node, there, here)) is not None:
                problems.append(problem)
                continue
            if there.niceness > os.nice(0):
                self._tell(
                    f"trainings on {node.name} give way to every other program (niceness {there.niceness}): "
                    "RAY_worker_niceness=0 where ray is started there ends that"
                )
            taken = [*self._actors, *slots]
            if on_gpus:
                slots += gpu_slots_of(node, taken, self._slots_per_gpu, self._gpus)
            else:
                slots += cpu_slots_of(node, taken, there.cores, self._cpus_per_slot)
        return slots, problems

    def _look_for_nodes(self) -> None:
        """Drop the slots of nodes that are gone, start those of nodes that came."""
        self._looked_at = time.monotonic()
        found = {node.node_id: node for node in alive(self._ray.nodes())}
        for node_id in self._nodes.keys() - found.keys():
            self._drop_node(self._nodes[node_id])
        new = [node for node_id, node in found.items() if node_id not in self._nodes]
        self._nodes = found
        if new:
            slots, problems = self._slots_on(new)
            for problem in problems:
                self._tell(f"not used: {problem}")
            for slot in slots:
                self._start(slot)

    def _drop_node(self, node: Node) -> None:
        lost = [slot for slot in self._actors if slot.node == node.node_id]
        self._tell(f"node {node.name} is gone with {_slots(len(lost))}; what it did goes on elsewhere")
        for slot in lost:
            self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        del self._actors[slot]
        self.slots = [other for other in self.slots if other != slot]
        self._starting = {reference: other for reference, other in self._starting.items() if other != slot}

    def _pinned(self, node_id: str, **options):
        """ray.remote, on one node of a cluster."""
        if node_id:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return self._ray.remote(**options)

    # --- slots come up

    def _start(self, slot: Slot) -> None:
        self.slots = [other for other in self.slots if other != slot]
        resources = {"num_cpus": slot.threads}
        if not slot.threads:
            resources = {"num_gpus": 1 / slot.per_gpu, "num_cpus": 0}
        # A lost actor is replaced here and not by ray, since the loss is recorded.
        remote = self._pinned(slot.node, max_restarts=0, **resources)
        self._actors[slot] = remote(Worker).remote(slot, self._engine, self._own_code)
        self._starting[self._actors[slot].devices.remote()] = slot

    def _started(self, reference) -> None:
        """A slot's process answered, or ended before it could."""
        slot = self._starting.pop(reference)
        try:
            devices = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._failed_starts[slot] += 1
            self._start_failure = last_line(error)
            if self._failed_starts[slot] < _MOST_STARTS and self._lives(slot):
                self._broken.add(slot)
            elif slot in self._actors:
                self._tell(f"slot {slot.name} does not start: {self._start_failure}")
                self._drop(slot)
            return
        self._failed_starts[slot] = 0
        self._check_devices(slot, devices)
        self.slots = sorted([*self.slots, slot], key=lambda each: each.index)

    def _check_devices(self, slot: Slot, devices: list[str]) -> None:
        if len(devices) > 1:
            raise ExecutorError(too_many_devices_sentence(slot, devices))
        if any(device.startswith("cpu") for device in devices):
            self._tell(no_gpu_sentence(slot))

    def _wait_for_first_slots(self, end: float) -> None:
        """Wait until all slots are up; go on with those that are when the time is over.

        Raises:
            ExecutorError: none is.
        """
        while self._starting and (left := end - time.monotonic()) > 0:
            for reference in self._ray.wait(list(self._starting), timeout=left)[0]:
                self._started(reference)
            self._start_broken()
            if self.slots:
                # The others may wait for what another program holds.
                end = min(end, time.monotonic() + _LATER_SLOTS_SECONDS)
        if not self.slots:
            why = (
                "other programs hold what they need"
                if self._starting
                else f"each one's process ended at once, the last one with: {self._start_failure}"
            )
            raise ExecutorError(f"no slot came up: {why}")
        if self._starting:
            self._tell(f"{_slots(len(self._starting))} not up yet: other programs hold what they need")
        if self._is_cluster:
            hosts = Counter(slot.host for slot in self.slots)
            self._tell("; ".join(f"{host}: {_slots(number)}" for host, number in hosts.items()))

    def _lives(self, slot: Slot) -> bool:
        """Whether the slot's node is still there."""
        if self._is_cluster:
            self._look_for_nodes()
        return slot in self._actors

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._say(sentence)

    # --- tasks

    def problem_with(self, own_code: OwnCode) -> str | None:
        """As `Worker.problem_with`, in a slot of each node.

        Raises:
            ExecutorError: the slot's process ended when it was asked.
        """
        for slot in {slot.node: slot for slot in self.slots}.values():
            try:
                problem = self._ray.get(self._actors[slot].problem_with.remote(own_code))
            except self._ray.exceptions.RayError as error:
                raise ExecutorError(
                    f"slot {slot.name} ended while it imported {own_code}: {first_line(error)}"
                ) from error
            if problem is not None:
                return f"{problem} (on {slot.host})" if slot.node else problem
        return None

    def memory_bytes(self) -> int | None:
        """Memory of the smallest GPU, or of a slot's share in it; None on CPU slots, and where a GPU does not say.

        Raises:
            ExecutorError: a slot's process ended, or failed, when it was asked.
        """
        if any(slot.threads for slot in self.slots):
            return None
        try:
            found = self._ray.get([self._actors[slot].memory_bytes.remote() for slot in self.slots])
        except self._ray.exceptions.RayError as error:
            raise ExecutorError(
                f"a GPU slot does not say how much memory it has ({first_line(error)}); "
                "--batch N says how many replicas a program trains"
            ) from error
        return None if None in found else min(found)

    def submit(self, slot: Slot, tasks: Tasks, seconds: float) -> None:
        """Give a slot its tasks; one whose process or node went since its last result loses them at once."""
        try:
            if slot not in self._actors or self._ray_died():
                raise self._ray.exceptions.NodeDiedError(f"its node is gone ({slot.name})")
            reference = self._actors[slot].work_batch.remote(tasks, seconds)
        except (self._ray.exceptions.RayError, OSError) as error:
            self._lost.append((slot, [self._loss(slot, error)] * len(tasks)))
            return
        self._pending[reference] = (slot, len(tasks))

    def wait(self, timeout_seconds: float) -> list[tuple[Slot, Results]]:
        """Results that have come in, at the latest after the timeout.

        Raises:
            ExecutorError: no slot is left, and none came for ten minutes; or ray ended and does not start again.
        """
        if self._ray_died():
            self._restart()
        if self._lost:
            lost, self._lost = self._lost, []
            return lost
        self._look_after_slots()
        waited_for = [*self._pending, *self._starting]
        if not waited_for:
            time.sleep(timeout_seconds)
            return []
        ready, _ = self._ray.wait(waited_for, num_returns=1, timeout=timeout_seconds)
        results = [self._results(reference) for reference in ready if reference in self._pending]
        for reference in ready:
            if reference in self._starting:
                self._started(reference)
        return results

    def replace(self, slot: Slot) -> None:
        """End a slot's process, whatever it does, and start another; its task is no longer waited for."""
        self._pending = {ref: work for ref, work in self._pending.items() if work[0] != slot}
        if slot in self._actors:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(self._actors[slot])
            self._break(slot)

    def _break(self, slot: Slot) -> None:
        """Give a slot whose process ended nothing more; asking for another while ray itself ends would block."""
        self.slots = [other for other in self.slots if other != slot]
        self._broken.add(slot)

    def _look_after_slots(self) -> None:
        now = time.monotonic()
        if self._is_cluster and (self._broken or now - self._looked_at >= _LOOK_FOR_NODES_SECONDS):
            self._look_for_nodes()
        self._start_broken()
        if self.slots or self._starting or self._pending:
            self._had_slots_at = now
        elif not self._is_cluster or now - self._had_slots_at >= _WITHOUT_SLOTS_SECONDS:
            raise ExecutorError("no slot is left to train in; the same command goes on once there are some")

    def _start_broken(self) -> None:
        broken, self._broken = self._broken, set()
        for slot in sorted(broken & self._actors.keys(), key=lambda each: each.index):
            self._start(slot)

    def _ray_died(self) -> bool:
        """Whether one of ray's own processes that were started here has ended."""
        node = self._ray._private.worker._global_node
        return not self._is_cluster and any(
            kind in ("raylet", "gcs_server") for kind, _ in node.dead_processes()
        )

    def _restart(self) -> None:
        """Start ray anew; every task that was under way is lost.

        Raises:
            ExecutorError: ray does not start.
        """
        failure = Failure("node_lost", "ray's processes on this machine ended, and ray was started again", "")
        self._lost += [(slot, [failure] * size) for slot, size in self._pending.values()]
        self._pending, self._starting, self._broken = {}, {}, set()
        self._ray.shutdown()
        for slot in self._start_ray():
            self._start(slot)

    def _results(self, reference) -> tuple[Slot, Results]:
        slot, size = self._pending.pop(reference)
        try:
            # It is there already; where ray on this machine has just ended it never comes.
            return slot, self._ray.get(reference, timeout=_TRANSFER_SECONDS)
        except self._ray.exceptions.RayTaskError as error:
            return slot, [failure_of(error)] * size  # a result that cannot travel ends its run, not the study
        except self._ray.exceptions.RayError as error:
            if slot in self._actors:
                self._break(slot)
            return slot, [self._loss(slot, error)] * size
        except Exception as error:  # noqa: BLE001 (as above, where it cannot be read)
            return slot, [failure_of(error)] * size

    def _loss(self, slot: Slot, error: Exception) -> Failure:
        before, self._killed_for_memory = self._killed_for_memory, killed_for_memory()
        return loss(slot, error, self._killed_for_memory > before)

    def close(self) -> None:
        """Stop the actors, and ray or the connection to its cluster."""
        self._ray.shutdown()


def _slots(number: int) -> str:
    return f"{number} slot{'' if number == 1 else 's'}"


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Ray puts its own in place of the driver's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
