"""The device that this process trains on."""

from __future__ import annotations

import jax


def memory_bytes() -> int | None:
    """Memory that jax may use on the first device; None where the device does not say, as CPUs don't."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("bytes_limit")
