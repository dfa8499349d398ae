"""A Ray cluster's nodes as the executor sees them: which slots they give, and what must be equal on them.

Nothing here imports ray: a node is the description that `ray.nodes()` has of it and the report that a
task on it made.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from orchestrator.provenance import what_decides_numbers
from orchestrator.slots import Slot

_LISTENING_SECONDS = 5.0
_CONNECT_SECONDS = 15.0


@dataclass(frozen=True)
class Report:
    """What a task found on a node.

    Attributes:
        decides: as `what_decides_numbers` there.
        cores: that the node's processes may use.
        niceness: of the node's tasks; 0 is a normal process, 19 the last in the queue.
    """

    decides: dict[str, str]
    cores: tuple[int, ...]
    niceness: int


def report() -> Report:
    """Of the machine that this runs on."""
    return Report(what_decides_numbers(), tuple(sorted(os.sched_getaffinity(0))), os.nice(0))


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        node_id: ray's, hexadecimal.
        name: that the user gave it, else its machine's.
        cpus: that ray hands out.
        gpus: as cpus.
    """

    node_id: str
    name: str
    cpus: int
    gpus: int


def alive(descriptions: Sequence[dict]) -> list[Node]:
    """The nodes that are alive, of `ray.nodes()`, by name."""
    nodes = []
    for description in descriptions:
        if description["Alive"]:
            resources = description["Resources"]
            # Ray names a node by its address where nobody has.
            given = description.get("NodeName") or description["NodeManagerAddress"]
            unnamed = given == description["NodeManagerAddress"]
            name = description["NodeManagerHostname"] if unnamed else given
            cpus, gpus = (int(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
            nodes.append(Node(description["NodeID"], name, cpus, gpus))
    return sorted(nodes, key=lambda node: (node.name, node.node_id))


def difference(node: Node, there: Report, here: dict[str, str]) -> str | None:
    """A sentence on what differs on a node from `here`; None where all that decides numbers is equal."""
    differences = []
    for name in here | there.decides:
        found, wanted = (side.get(name, "not installed") for side in (there.decides, here))
        if found != wanted:
            differences.append(f"{name} is {found} there and {wanted} here")
    if not differences:
        return None
    return (
        f"node {node.name}: {'; '.join(differences)}: its results would not belong to this study; "
        "bring the same commit and the versions of constraints.txt there and start ray on it again"
    )


def gpu_slots_of(node: Node, taken: Sequence[Slot], per_gpu: int, gpus: int | None) -> list[Slot]:
    """The slots of a node's GPUs.

    Args:
        taken: slots that there are already.
        per_gpu: slots that share each GPU.
        gpus: to use of all nodes together; None: all.
    """
    used = sum(not slot.threads for slot in taken) // per_gpu
    left = node.gpus if gpus is None else gpus - used
    # A GPU's slots have neighbouring numbers, since their names follow from them.
    first = -(-_next_index(taken) // per_gpu) * per_gpu
    total = max(0, min(node.gpus, left)) * per_gpu
    return [Slot(first + place, (), 0, per_gpu, node.name, node.node_id) for place in range(total)]


def cpu_slots_of(node: Node, taken: Sequence[Slot], cores: tuple[int, ...], size: int) -> list[Slot]:
    """The slots of a node's cores.

    Args:
        taken: slots that there are already.
        cores: that the node's processes may use.
        size: cores of each slot.
    """
    # Bound to cores where the node has all of its machine; else another node may have the same ones.
    bound = cores if len(cores) == node.cpus else ()
    indices = count(_next_index(taken))
    return [
        Slot(next(indices), bound[place : place + size], size, 1, node.name, node.node_id)
        for place in range(0, node.cpus - size + 1, size)
    ]


def _next_index(taken: Sequence[Slot]) -> int:
    return max((slot.index for slot in taken), default=-1) + 1


def why_unreachable(address: str) -> str | None:
    """A sentence on a cluster that cannot be joined from here; None where it can.

    Asked in a process of its own: where ray finds no cluster, or one that wants a token, it tries for
    minutes and then ends the process.
    """
    host, _, port = address.rpartition(":")
    if host:
        try:
            socket.create_connection((host, int(port)), _LISTENING_SECONDS).close()
        except (OSError, UnicodeError) as error:
            # A UnicodeError: no name of a machine.
            return f"--address {address}: nothing answers there ({getattr(error, 'strerror', None) or error})"
    join = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='error')"
    try:
        done = subprocess.run(
            [sys.executable, "-c", join, address],
            capture_output=True,
            text=True,
            timeout=_CONNECT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        said = (expired.stderr or b"").decode(errors="replace")
        if "AuthToken" in said:
            return (
                f"--address {address}: the cluster asks for its token; set RAY_AUTH_MODE=token, and have the head's "
                "~/.ray/auth_token here (or its path in RAY_AUTH_TOKEN_PATH)"
            )
        return (
            f"--address {address}: no Ray cluster answered in {_CONNECT_SECONDS:.0f} s; is `ray start` running there "
            "and on this machine?"
        )
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["no reason given"]
    return f"--address {address}: {lines[-1]}"


def sources(folder: Path) -> dict[str, bytes]:
    """A user's modules and packages in a folder, by their path in it: what travels to other machines."""
    files = [*folder.glob("*.py")]
    for package in folder.glob("*/__init__.py"):
        files += package.parent.rglob("*.py")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(files)}


def unpacked(files: Mapping[str, bytes], caches: Path) -> Path:
    """A folder that has the files; named for their contents, so that it is written once a machine."""
    digest = hashlib.sha256()
    for name, contents in files.items():
        digest.update(f"{name} {hashlib.sha256(contents).hexdigest()}\n".encode())
    folder = caches / "own-code" / digest.hexdigest()[:16]
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix="staged-"))
    for name, contents in files.items():
        path = staged / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    try:
        staged.rename(folder)
    except OSError:
        # Another slot was first.
        shutil.rmtree(staged)
    return folder
