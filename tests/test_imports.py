"""The arrows between the rooms, read from the imports (docs: DESIGN, "Rooms")."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("nqs", "orchestrator", "explorer", "sweeps")

# What a module of a room may import of the other rooms, as prefixes of module names.
ARROWS = {
    "nqs": (),
    "orchestrator": ("nqs",),
    # What geometry and masks are has one home; these modules are plain, as PLAIN_NQS holds.
    "explorer": (
        "orchestrator.data_dictionary",
        "orchestrator.export",
        "orchestrator.store",
        "orchestrator.story",
        "orchestrator.tables",
        "nqs.config",
        "nqs.identity",
        "nqs.lattices",
        "nqs.masks",
        "nqs.toric_code",
    ),
    "sweeps": ("orchestrator.plan", "nqs.config"),
}
# The training, and what comes with it: jax. The driver must not see it.
PLAIN_NQS = (
    "nqs.config",
    "nqs.correlations",
    "nqs.extrapolation",
    "nqs.hamiltonians",
    "nqs.identity",
    "nqs.lattices",
    "nqs.layouts",
    "nqs.masks",
    "nqs.moves",
    "nqs.own_code",
    "nqs.pruning",
    "nqs.replicas",
    "nqs.statistics",
    "nqs.tasks",
    "nqs.toric_code",
)


def modules(room: str) -> list[Path]:
    return sorted((REPOSITORY / room).rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every module that a file imports, and whether that is at the top, where importing it runs it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        at_top = node in tree.body
        if isinstance(node, ast.Import):
            found += [(alias.name, at_top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            # `from orchestrator import plan` imports the module orchestrator.plan.
            whole = node.module in ROOMS
            found += [
                (f"{node.module}.{alias.name}" if whole else node.module, at_top) for alias in node.names
            ]
    return found


def within(name: str, prefixes) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_others_along_the_arrows_alone(room):
    assert modules(room)
    for path in modules(room):
        for name, _ in imports(path):
            top = name.split(".")[0]
            if top in (*ROOMS, "tests") and top != room:
                assert within(name, ARROWS[room]), f"{path.relative_to(REPOSITORY)} imports {name}"


def test_ray_is_imported_by_the_actors_alone():
    for room in ROOMS:
        for path in modules(room):
            if path.name not in ("actors.py", "loop.py") or room != "orchestrator":
                assert not any(within(name, ["ray"]) for name, _ in imports(path)), path
    assert ("ray", False) in imports(REPOSITORY / "orchestrator" / "actors.py")


def test_the_driver_imports_neither_jax_nor_the_training_but_lazily_through_the_actors():
    for path in modules("orchestrator"):
        for name, at_top in imports(path):
            where = f"{path.relative_to(REPOSITORY)} imports {name}"
            assert not within(name, ["jax", "jaxlib", "flax", "netket", "tenpy"]), where
            if within(name, ["nqs"]) and not within(name, PLAIN_NQS):
                assert path.name == "actors.py" and not at_top, where


def test_what_the_driver_may_import_of_the_science_is_plain():
    for module in PLAIN_NQS:
        path = REPOSITORY / (module.replace(".", "/") + ".py")
        for name, _ in imports(path):
            assert not within(name, ["jax", "flax", "netket", "tenpy"]), f"{module} imports {name}"
            assert not within(name, ["nqs"]) or within(name, PLAIN_NQS), f"{module} imports {name}"


def test_streamlit_is_imported_by_the_app_its_loading_and_its_views_alone():
    allowed = {REPOSITORY / "explorer" / "app.py", REPOSITORY / "explorer" / "loading.py"}
    users = set()
    for room in ROOMS:
        for path in modules(room):
            if any(within(name, ["streamlit"]) for name, _ in imports(path)):
                users.add(path)
    assert users
    assert {path for path in users - allowed if path.parent != REPOSITORY / "explorer" / "views"} == set()
