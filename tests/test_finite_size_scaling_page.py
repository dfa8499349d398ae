"""docs/finite_size_scaling.md by doing it: its code prints what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "finite_size_scaling.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The page's blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_code_of_the_page_prints_what_the_page_says():
    code, shown = blocks("python"), blocks("text")
    assert (len(code), len(shown)) == (3, 3)
    # As a notebook from the repository's root would, one block after another.
    command = [sys.executable, "-c", "\n".join(code)]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "".join(shown)
