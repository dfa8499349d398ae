"""Where results come from: the code's version and the machine, as every file's footer has them."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent
_PACKAGES = ("jax", "numpy", "netket", "polars", "pyarrow", "ray")


@lru_cache(maxsize=1)
def code_version() -> str:
    """The commit, with "+changes" where tracked files differ from it; the package's version without git."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        try:
            return metadata.version("pruned-nqs")
        except metadata.PackageNotFoundError:
            return "unknown"
    return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    if not (_REPOSITORY / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_REPOSITORY, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def environment() -> dict:
    """Python, platform and the versions of the packages that decide numbers; nothing is imported."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": versions}
