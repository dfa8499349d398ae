"""A run's name: a letter and a hash of what decides its result; and the seed drawn from it."""

from __future__ import annotations

import hashlib
import json

# Raised when the meaning of an identity changes: every run then gets a new name.
IDENTITY_VERSION = 1
# Raised by hand when the same identity gives other numbers: older results become stale.
NUMERICS_VERSION = 3

HASH_DIGITS = 16


def canonical_json(value) -> str:
    """The one JSON text of plain data: sorted keys, no spaces, every number a shortest float.

    So 8, 8.0 and 8e0 are the same number, as they are to a physicist.

    Raises:
        TypeError: the value holds something that is not plain data.
    """
    return _encode(_plain(value))


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _plain(value):
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} has no canonical JSON")


def run_id_of(letter: str, identity: dict) -> str:
    """Letter and hash, e.g. d1f0c…: letter d, t, k for runs, e for reference energies."""
    text = canonical_json({"identity_version": IDENTITY_VERSION, **identity})
    return letter + hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def seed_of(run_id: str) -> int:
    """A 63-bit seed that depends on the id alone, so that more replicates never change old ones."""
    return int.from_bytes(hashlib.sha256(f"seed {run_id}".encode()).digest()[:8], "big") >> 1
