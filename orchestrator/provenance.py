"""Where results come from: the code's version and the machine, as every file's footer has them; and times in words."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from datetime import datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent
# What trains: other versions may give other numbers.
_NUMERICAL_PACKAGES = ("flax", "jax", "jaxlib", "netket", "numba", "numpy", "ray", "scipy")
_PACKAGES = (*_NUMERICAL_PACKAGES, "polars", "pyarrow")


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
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _versions(_PACKAGES),
    }


def what_decides_numbers() -> dict[str, str]:
    """What must be equal on all machines that train for one study, by name; nothing is imported.

    The training's source files count as they are and not by their commit: a commit says nothing of
    changes, and not every machine has git.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    return {"the code in nqs/": _source_hash(), "Python": python, **_versions(_NUMERICAL_PACKAGES)}


def _source_hash() -> str:
    """Hash of the training's source files, with their names."""
    digest = hashlib.sha256()
    for path in sorted((_REPOSITORY / "nqs").rglob("*.py")):
        contents = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(_REPOSITORY).as_posix()} {contents}\n".encode())
    return digest.hexdigest()[:12]


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions; a package that is not installed is left out."""
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def moment(when: datetime | str) -> str:
    """A time in UTC, or its ISO text, as a person reads it: 2026-11-30 18:14 UTC."""
    when = datetime.fromisoformat(when) if isinstance(when, str) else when
    return f"{when:%Y-%m-%d %H:%M} UTC"
