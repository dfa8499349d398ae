"""When a study is read again, and when what was read of it stands."""

import os

from explorer import loading
from orchestrator.run_directory import RunDirectory
from orchestrator.tables import STATES
from tests.explorer.conftest import NETWORKS
from tests.explorer.synthetic_study import write_run_directory


def test_a_study_is_read_again_for_a_new_network_and_not_for_a_checkpoint(untrained):
    shown = loading.open_study(untrained)
    directory = RunDirectory(untrained)
    directory.checkpoints.mkdir(exist_ok=True)
    directory.checkpoint("d0", 0, 10).write_bytes(b"")
    directory.append_log("d0", "step 10")
    assert loading.open_study(untrained) is shown
    write_run_directory(untrained, NETWORKS, trained=1)
    assert loading.open_study(untrained).study.states.height == 1


def test_a_table_that_is_still_being_copied_is_read_again_when_it_is_whole(untrained):
    write_run_directory(untrained, NETWORKS, trained=2)
    part = min(RunDirectory(untrained).table(STATES).iterdir())
    whole = part.read_bytes()
    part.write_bytes(whole[:-9])
    assert loading.open_study(untrained).problems
    # In place, as a copy grows: its folder has no newer time than before.
    part.write_bytes(whole)
    assert not loading.open_study(untrained).problems


def test_a_run_is_running_while_its_driver_is_there_though_no_table_changes(untrained):
    def statuses() -> set[str]:
        return set(loading.open_study(untrained).study.runs_now()["status"])

    directory = RunDirectory(untrained)
    (run_id, *_) = loading.open_study(untrained).study.runs.filter(status="ready")["run_id"]
    with directory.lock() as holder:
        assert "running" not in statuses()
        checkpoint = directory.checkpoint(run_id, 0, 10)
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_bytes(b"")
        os.utime(checkpoint, (holder.since.timestamp() + 1,) * 2)
        assert "running" in statuses()
    assert "running" not in statuses()
