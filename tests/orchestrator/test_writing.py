"""Records are written in the order in which they came, and nothing after one that could not be."""

import threading

import pytest

from orchestrator import writing
from orchestrator.run_directory import RunDirectory, WriteError
from orchestrator.writing import Record, Writer


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    return directory


def record(directory, name, after=lambda: None, ready=None) -> Record:
    """A record of one file and one that commits it; `ready` holds it up."""

    def file():
        if ready is not None:
            ready.wait(20)
        return directory.checkpoints / f"{name}.first", name.encode()

    return Record((file,), (lambda: (directory.checkpoints / f"{name}.last", b""),), after)


def test_what_comes_while_a_group_is_written_is_the_next_group(directory, monkeypatch):
    groups, done, ready = [], [], threading.Event()
    together = RunDirectory.write_together
    monkeypatch.setattr(
        RunDirectory,
        "write_together",
        lambda self, *files: (groups.append([len(group) for group in files]), together(self, *files)),
    )
    writer = Writer(directory)
    writer.add(record(directory, "a", lambda: done.append("a"), ready))
    writer.proceed()
    for name in "bc":
        writer.add(record(directory, name, lambda name=name: done.append(name)))
        writer.proceed()
    assert not writer.idle and done == []
    ready.set()
    writer.finish()
    assert writer.idle and done == ["a", "b", "c"]
    assert groups == [[1, 1], [2, 2]]
    assert (directory.checkpoints / "c.first").read_bytes() == b"c"


def test_the_loop_waits_for_a_disk_that_is_too_slow(directory, monkeypatch):
    monkeypatch.setattr(writing, "MOST_WAITING", 2)
    writer, ready = Writer(directory), threading.Event()
    writer.add(record(directory, "a", ready=ready))
    writer.proceed()
    for name in "bcd":
        writer.add(record(directory, name))
    threading.Timer(0.2, ready.set).start()
    writer.proceed()
    assert (directory.checkpoints / "a.last").exists()
    writer.finish()


def test_nothing_is_written_after_a_record_that_could_not_be(directory):
    done = []
    writer = Writer(directory)
    lost = directory.checkpoints / "no such folder" / "a"
    writer.add(Record((lambda: (lost, b""),), (lambda: (directory.checkpoints / "a.last", b""),)))
    writer.proceed()
    writer.add(record(directory, "b", lambda: done.append("b")))
    with pytest.raises(WriteError, match="no such folder"):
        writer.finish()
    writer.finish()
    assert done == [] and list(directory.checkpoints.iterdir()) == []
