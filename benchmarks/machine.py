"""The cores a benchmark runs on, and what it says about them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def bind_to_cores(count: int, first: int = 0) -> None:
    """Bind this process to cores, with as many threads for products; before jax is imported."""
    from orchestrator.slots import Slot, slot_environment

    cores = sorted(os.sched_getaffinity(0))[first : first + count]
    if len(cores) < count:
        raise SystemExit(f"{count} cores from number {first} on are wanted; this process may use fewer")
    os.sched_setaffinity(0, cores)
    os.environ.update(slot_environment(Slot(first, tuple(cores), count)))


def describe_machine() -> str:
    """Processor, cores in use and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "netket", "numba", "numpy", "scipy"))
    cores = len(os.sched_getaffinity(0))
    return (
        f"{_processor()}, {cores} core{'s' if cores > 1 else ''} of {os.cpu_count()}; "
        f"Python {platform.python_version()}, {packages}"
    )


def peak_memory_gib() -> float:
    """Most memory that this process has held; not what its parent held when it was started."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024**2
    raise OSError("this system does not say how much memory the process has held")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {key.strip(): value.strip() for key, value in values.items()}
    wide = "AVX-512" if "avx512f" in names.get("flags", "") else "no AVX-512"
    return f"{names.get('model name', platform.machine())} ({wide})"
