"""What a slot is: a GPU or some CPU cores, with the environment that its process starts in."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

_CACHE_BYTES = 2 * 1024**3
_DEVICES, _GPU_FILE = Path("/dev"), re.compile(r"nvidia\d+")
# Of a GPU's memory, shared by its slots; the rest is for what CUDA and its libraries take themselves.
_GPU_MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class Slot:
    """What one worker owns: a GPU, or some CPU cores.

    Attributes:
        cores: the cores it is bound to; empty where it isn't bound.
        threads: for the worker's products; 0 where a GPU does them.
        per_gpu: slots that share its GPU, itself included.
        host: name of its machine.
        node: ray's id of its node in a cluster; empty on this machine alone.
    """

    index: int
    cores: tuple[int, ...] = ()
    threads: int = 1
    per_gpu: int = 1
    host: str = field(default_factory=platform.node)
    node: str = ""

    @property
    def name(self) -> str:
        kind = "cpu" if self.threads else "gpu"
        gpu, share = divmod(self.index, self.per_gpu)
        number = self.index if self.per_gpu == 1 else f"{gpu}.{share}"
        return f"{kind} {number}" + (f" on {self.host}" if self.node else "")


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
        return variables | {"JAX_PLATFORMS": "cpu", **thread_environment(slot.threads)}
    # A GPU's default for float32 products is TF32, with three digits: too few for θ = W s.
    variables["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
    # The older name; XLA refuses both together.
    if not {"XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"} & os.environ.keys():
        variables["XLA_CLIENT_MEM_FRACTION"] = f"{_GPU_MEMORY_SHARE / slot.per_gpu:.4f}"
    return variables


def thread_environment(threads: int) -> dict[str, str]:
    """The environment variables that bound the threads of numpy's and XLA's products."""
    variables = {
        name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    }
    own = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}"
    given = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag not in own]
    return variables | {"XLA_FLAGS": " ".join([*given, own])}


def _compilation_cache(slot: Slot) -> Path:
    """The slot's cache of compiled programs; a new slot starts with a copy of the fullest one."""
    kind = "cpu" if slot.threads else "gpu"
    # Machines of a cluster may share their home and not their processors.
    of_jax = caches() / "jax" / (slot.host if slot.node else "")
    own = of_jax / f"{kind}-{slot.index}"
    if not own.exists():
        others = [path for path in of_jax.glob(f"{kind}-*") if path.is_dir()]
        fullest = max(others, key=lambda path: sum(1 for _ in path.iterdir()), default=None)
        if fullest is not None:
            # Another slot may be writing there: a file that goes meanwhile is not missed.
            _copy_what_is_there(fullest, own)
    own.mkdir(parents=True, exist_ok=True)
    return own


def caches() -> Path:
    """The user's folder for what can be made again; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pruned-nqs"


def _copy_what_is_there(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    # Programs and their access times, without the lock.
    for path in [*source.glob("*-atime"), *source.glob("*-cache")]:
        try:
            shutil.copy2(path, target / path.name)
        except OSError:
            continue


def gpus_here() -> int:
    """NVIDIA GPUs that this process may use, as ray will find them: device files, no more than CUDA_VISIBLE_DEVICES names.

    Neither ray nor CUDA is asked. GPUs of other makers are not counted.
    """
    found = sum(_GPU_FILE.fullmatch(name) is not None for name in os.listdir(_DEVICES))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    return min(found, len([name for name in visible.split(",") if name not in ("", "NoDevFiles")]))


def gpu_slots(gpus: int, per_gpu: int) -> list[Slot]:
    """The slots of this machine's GPUs, of which so many share each."""
    return [Slot(index, (), 0, per_gpu) for index in range(gpus * per_gpu)]


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


def expected_slots(gpus: int | None, cpus_per_slot: int, per_gpu: int) -> list[Slot]:
    """The slots that a start on this machine will have, without asking ray.

    Args:
        gpus: to use; None: all that there are, 0: CPU slots.

    Raises:
        ValueError: as `cpu_slots`.
    """
    cpus = cpu_slots(cpus_per_slot)
    return gpu_slots(gpus_here() if gpus is None else gpus, per_gpu) or cpus


def no_gpu_sentence(slot: Slot) -> str:
    """What is said where a GPU slot's process sees the CPU alone."""
    return (
        f"GPU slots{f' on {slot.host}' if slot.node else ''} train on the CPU: jax finds no GPU there "
        '(is jax installed with CUDA? pip install -e ".[cuda]"); --gpus 0 makes CPU slots'
    )


def too_many_devices_sentence(slot: Slot, devices: list[str]) -> str:
    """What is said where it sees more than the one GPU that it was given."""
    return (
        f"slot {slot.name} sees {len(devices)} GPUs ({', '.join(devices)}) where ray gave it one: "
        "something sets CUDA_VISIBLE_DEVICES, or HIP_VISIBLE_DEVICES, for all its processes"
    )


@contextmanager
def environment_for_ray(threads: int) -> Iterator[None]:
    """What ray's processes inherit while they are started.

    Inherited, not passed as a runtime_env: that would start an agent and fresh processes, seconds.
    """
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    variables = {
        "PYTHONPATH": path,  # the packages may have been found through the working directory alone
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray listens to all interfaces where clusters are allowed, as by default on Linux; to loopback where not.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Ray's 15 gives a slot a thirtieth of its core while anything else runs there: minutes a step.
        "RAY_worker_niceness": os.environ.get("RAY_worker_niceness", "0"),
        # numpy reads these when a worker starts, before it knows its slot.
        **thread_environment(threads),
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
