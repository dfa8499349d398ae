"""Measured rates that outlive their study: a small file in the user's cache, so that the next study's plan has them.

A rate is what trainings of one shape took over what `costs` works out for them. Only estimated times and the order
of work rest on it, no result does; so a file that is missing, damaged or cannot be written is no error.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from orchestrator.slots import caches

# More would be shapes that nobody trains any more.
_MOST_RATES = 2000


class Trained(NamedTuple):
    """What a rate was measured of.

    Attributes:
        shape: text of what decides the rate.
        device: jax's platform and kind.
        members: runs that were trained together.
    """

    shape: str
    device: str
    members: int


class Rate(NamedTuple):
    """What trainings of one shape took over what `costs` works out.

    Attributes:
        ratio: of the two times.
        unit_seconds: what `costs` works out for a unit, the median of those that were measured.
    """

    ratio: float
    unit_seconds: float


@dataclass(frozen=True)
class Rates:
    """Rates of earlier studies on this machine.

    Attributes:
        device: where the newest one was measured.
    """

    of: Mapping[Trained, Rate] = field(default_factory=dict)
    device: str | None = None


def remembered() -> Rates:
    """The rates on file that were measured on this machine, and with the present arithmetic."""
    rates = [rate for rate in _read() if rate["host"] == platform.node()]
    of = {
        Trained(rate["shape"], rate["device"], rate["members"]): Rate(rate["ratio"], rate["unit_seconds"])
        for rate in rates
    }
    return Rates(of, rates[-1]["device"] if rates else None)


def remember(measured: Mapping[Trained, Rate]) -> None:
    """Put rates on file, in place of older ones of the same."""
    host, now = platform.node(), datetime.now(UTC).isoformat()
    new = {
        (host, *key): {"host": host, **key._asdict(), **rate._asdict(), "at": now}
        for key, rate in measured.items()
    }
    if not new:
        return
    kept = [rate for rate in _read() if tuple(rate[name] for name in ("host", *Trained._fields)) not in new]
    data = {"arithmetic": _arithmetic(), "rates": [*kept, *new.values()][-_MOST_RATES:]}
    path = _file()
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(json.dumps(data), encoding="utf-8")
        os.replace(staged, path)


def _file() -> Path:
    return caches() / "rates.json"


def _read() -> list[dict]:
    """The rates on file, oldest first; none where they are of another arithmetic or cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        data = json.loads(_file().read_text(encoding="utf-8"))
        if data["arithmetic"] == _arithmetic() and all(map(_is_whole, data["rates"])):
            return data["rates"]
    return []


def _is_whole(rate: dict) -> bool:
    texts = all(isinstance(rate[name], str) for name in ("host", "shape", "device"))
    numbers = all(0 < float(rate[name]) < float("inf") for name in Rate._fields)
    return texts and isinstance(rate["members"], int) and numbers


@cache
def _arithmetic() -> str:
    """Names the arithmetic that rates are relative to: another one has other rates."""
    return hashlib.sha256(Path(__file__).with_name("costs.py").read_bytes()).hexdigest()[:16]
