"""A study on several machines, played by local nodes of one Ray cluster."""

import re
import shutil
import subprocess

import pytest
import yaml
from ray._private import ray_constants
from ray.cluster_utils import Cluster

from orchestrator import actors
from orchestrator import cluster as nodes
from orchestrator.__main__ import main
from orchestrator.actors import RayExecutor
from orchestrator.cluster import sources, unpacked, why_unreachable
from orchestrator.store import read_study
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import REPOSITORY, SWEEP_FILE, assert_same_tables, run_study, small_plan

NODE = {
    "num_cpus": 1,
    "object_store_memory": 100 * 1024**2,
    "include_dashboard": False,
}
OWN_CRITERION = "def by_size(candidates):\n    return abs(candidates.trained)\n"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Nodes start somewhere else and find the packages by PYTHONPATH, as on a machine with its own installation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("RAY_worker_niceness", "0")
        # Nothing of these tests listens to other machines: for the nodes, and for this process, which has ray already.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        # A killed node is missed within a second, not half a minute.
        patch.setenv("RAY_health_check_initial_delay_ms", "0")
        patch.setenv("RAY_health_check_period_ms", "300")
        patch.setenv("RAY_health_check_timeout_ms", "900")
        patch.setenv("RAY_health_check_failure_threshold", "2")
        patch.setattr(actors, "_LOOK_FOR_NODES_SECONDS", 0.5)
        yield patch


@pytest.fixture(scope="module")
def cluster(environment):
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"node_name": "first"})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def second(cluster):
    """A second node, for one test."""
    node = cluster.add_node(**NODE, node_name="second")
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


def test_two_nodes_give_the_tables_of_one_process_with_the_users_code_on_both(cluster, second, tmp_path):
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    (tmp_path / "mine.py").write_text(OWN_CRITERION)
    executor = RayExecutor(
        engine=FakeEngine(step_seconds=0.02).engine(), own_code=tmp_path, address=cluster.address
    )
    try:
        assert [slot.name for slot in executor.slots] == ["cpu 0 on first", "cpu 1 on second"]
        assert executor.problem_with(["mine:by_size"]) is None
        problem = executor.problem_with(["mine:by_colour"])
        assert re.fullmatch(r"methods: .*'mine:by_colour' cannot be imported: .* \(on first\)", problem)
        run_study(tmp_path / "two", small_plan(), executor=executor)
    finally:
        executor.close()
    run_study(tmp_path / "one", small_plan())
    study = read_study(tmp_path / "two")
    assert set(study.runs["host"]) == {"first", "second"}
    assert study.attempts.is_empty()
    assert_same_tables(read_study(tmp_path / "one"), study)


def test_a_removed_nodes_units_go_on_elsewhere_and_a_node_that_comes_is_used(cluster, second, tmp_path):
    said = []
    executor = RayExecutor(
        engine=FakeEngine(step_seconds=0.1).engine(), address=cluster.address, say=said.append
    )
    wait, results, third = executor.wait, 0, []

    def wait_and_exchange_nodes(timeout_seconds):
        nonlocal results
        found = wait(timeout_seconds)
        results += len(found)
        if results >= 3 and second in cluster.worker_nodes:
            cluster.remove_node(second, allow_graceful=False)
            third.append(cluster.add_node(**NODE, node_name="third"))
        return found

    executor.wait = wait_and_exchange_nodes
    try:
        run_study(tmp_path / "moved", small_plan(), executor=executor)
        assert {slot.host for slot in executor.slots} == {"first", "third"}
    finally:
        executor.close()
        for node in third:
            cluster.remove_node(node)
    run_study(tmp_path / "still", small_plan())
    study = read_study(tmp_path / "moved")
    assert "node second is gone with 1 slot; what it did goes on elsewhere" in said
    assert set(study.attempts["device"]) == {"cpu 1 on second"}
    assert "third" in set(study.runs["host"])
    assert_same_tables(read_study(tmp_path / "still"), study)


def test_a_node_with_other_code_or_versions_is_refused_before_anything_trains(
    cluster, environment, tmp_path, capfd
):
    other = tmp_path / "other"
    for room in ("nqs", "orchestrator"):
        shutil.copytree(REPOSITORY / room, other / room)
    with (other / "nqs" / "pruning.py").open("a") as file:
        file.write("# another commit\n")
    package = other / "numba-0.0.1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: numba\nVersion: 0.0.1\n")
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    with environment.context() as patch:
        patch.setenv("PYTHONPATH", str(other))
        node = cluster.add_node(**NODE, node_name="old")
    try:
        arguments = [str(tmp_path / "small.py"), "--out", str(tmp_path / "run"), "--address", cluster.address]
        assert main(arguments, engine=FakeEngine().engine()) == 1
    finally:
        cluster.remove_node(node)
    (sentence,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("node old: ")]
    assert re.search(
        r"the code in nqs/ is [0-9a-f]{12} there and [0-9a-f]{12} here; numba is 0.0.1 there", sentence
    )
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_a_cluster_that_cannot_be_joined_gets_a_sentence(cluster, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    for address in ("ray://head:10001", "head", "head:"):
        with pytest.raises(SystemExit, match="2"):
            main([str(tmp_path / "small.py"), "--address", address])
        assert f"--address: is {address!r}; allowed: auto, or host:port" in capsys.readouterr().err
    assert (
        why_unreachable("127.0.0.1:9") == "--address 127.0.0.1:9: nothing answers there (Connection refused)"
    )
    # Something listens, and it is no cluster's head: ray would try for minutes.
    monkeypatch.setattr(nodes, "_CONNECT_SECONDS", 1.0)
    port = cluster.head_node.node_manager_port
    assert "no Ray cluster answered in 1 s" in why_unreachable(f"127.0.0.1:{port}")


@pytest.mark.parametrize("begun", [False, True])
def test_an_address_where_no_cluster_is_exits_2_and_leaves_nothing(begun, tmp_path, capsys):
    sweep, out = tmp_path / "small.py", tmp_path / "run"
    sweep.write_text(SWEEP_FILE)
    if begun:
        run_study(out, small_plan(), stop_after=3)
    before = sorted(path for path in tmp_path.rglob("*"))
    assert main([str(sweep), "--out", str(out), "--address", "127.0.0.1:9"]) == 2
    assert capsys.readouterr().err == "--address 127.0.0.1:9: nothing answers there (Connection refused)\n"
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == []


@pytest.mark.parametrize("host", ["two..dots", "a" * 70])
def test_what_is_no_name_of_a_machine_gets_a_sentence(host):
    assert f"--address {host}:1: nothing answers there" in why_unreachable(f"{host}:1")


def test_a_users_files_travel_by_content_with_their_packages(tmp_path):
    home = tmp_path / "home"
    for name in ("sweep.py", "mine/__init__.py", "mine/deep/networks.py", "data/not_a_package.py"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"# {name}\n")
    files = sources(home)
    assert set(files) == {"sweep.py", "mine/__init__.py", "mine/deep/networks.py"}
    folder = unpacked(files, tmp_path / "cache")
    assert sources(folder) == files
    assert unpacked(files, tmp_path / "cache") == folder
    assert unpacked(files | {"sweep.py": b"edited"}, tmp_path / "cache") != folder
    assert len(list(folder.parent.iterdir())) == 2


def blocks(language: str) -> list[str]:
    text = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_files_that_the_documentation_shows_can_be_read():
    (rayjob,) = [list(yaml.safe_load_all(text)) for text in blocks("yaml")]
    assert [document["kind"] for document in rayjob] == ["PersistentVolumeClaim", "RayJob"]
    (slurm,) = blocks("bash")
    subprocess.run(["bash", "-n"], input=slurm, text=True, check=True)
