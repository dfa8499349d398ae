"""The device that this process trains on."""

from __future__ import annotations

import jax


def memory_bytes() -> int | None:
    """Memory that jax may use on the first device; None where the device does not say, as CPUs don't."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("bytes_limit")


def names() -> list[str]:
    """Platform and kind of every device that this process sees."""
    return [name_of(device) for device in jax.local_devices()]


def name_of(device: jax.Device) -> str:
    """Platform and kind, such as "gpu:NVIDIA H100"."""
    return f"{device.platform}:{device.device_kind}"
