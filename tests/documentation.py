"""Pages of docs/ by doing them: their code, and what they say that it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Page:
    """A page of docs/ by its name without the ending."""

    name: str

    def blocks(self, language: str) -> list[str]:
        """The page's blocks of a language, in their order."""
        text = (REPOSITORY / "docs" / f"{self.name}.md").read_text(encoding="utf-8")
        return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    def files(self) -> dict[str, str]:
        """The page's files of Python: blocks that start with a comment that names one."""
        named = (re.match(r"# (\w+\.py)\n", block) for block in self.blocks("python"))
        return {found[1]: found.string for found in named if found}

    def run(self, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
        """The page's code as a notebook from the repository's root would run it, one block after another."""
        command = [sys.executable, "-c", "\n".join(self.blocks("python"))]
        return subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
