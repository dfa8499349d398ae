"""docs/tutorial.md by doing it, in a folder of its own and at the smallest of its file's scales."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from orchestrator.__main__ import main
from tests.documentation import REPOSITORY, Page

PAGE = Page("tutorial")
LAPTOP, TINY = "laptop", "tiny"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the reader has saved the page's files."""
    for name, code in PAGE.files().items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def orchestrator(command: str) -> int:
    program, arguments = command.split(" -m orchestrator ")
    assert program == "python"
    return main(shlex.split(arguments))


def python(command: str) -> str:
    program, file = command.split()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, file], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert program == "python" and done.returncode == 0, done.stderr
    return done.stdout


def columns(table: str) -> list[str]:
    """The heading of a table as the page or a program has it, whatever the widths of its columns."""
    heading = next(line for line in table.splitlines() if "field" in line or "E0" in line)
    return re.findall(r"[\w]+", heading)


def test_each_command_of_the_page_does_what_the_page_says(folder, capsys):
    plan, run, look, export, fewest, check = (block.strip() for block in PAGE.blocks("sh"))
    refused, total, ended, numbers, checked = PAGE.blocks("text")

    (folder / "wrong.py").write_text((folder / "j1j2.py").read_text().replace("(-field, ", "(field, "))
    assert main(["wrong.py", "--plan"]) == 2
    assert capsys.readouterr().err == refused
    assert orchestrator(plan) == 0
    # Times depend on the machine, counts do not.
    assert capsys.readouterr().out.splitlines()[-1].split(";")[0] == total.split(";")[0]

    assert orchestrator(run.replace(LAPTOP, TINY) + " --executor inline") == 0
    assert capsys.readouterr().out.splitlines()[-1] == ended.splitlines()[-1].replace(LAPTOP, TINY)
    app, opened = look.replace(LAPTOP, TINY).removeprefix("streamlit run ").split(" -- ")
    assert (REPOSITORY / app).is_file() and (folder / opened / "sweep.json").is_file()
    assert orchestrator(export.replace(LAPTOP, TINY)) == 0
    assert columns(python(fewest)) == columns(numbers)
    found = python(check)
    assert columns(found) == columns(checked)
    for row in (*found.splitlines()[1:], *checked.splitlines()[1:]):
        _, exact, reference, network, *_ = row.split()
        assert exact == reference and float(network) > float(exact)
