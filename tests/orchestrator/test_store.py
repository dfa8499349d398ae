"""A study is read from its files alone: what is committed counts, what is damaged is named."""

import math
import os
import re

import numpy as np
import polars as pl
import pytest

from nqs import identity
from orchestrator import store
from orchestrator.export import export_study, mask_statistics
from orchestrator.plan import Tickets
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.store import JOINED_RUNS, JOINED_STATES, read_study
from orchestrator.tables import REFERENCES, RUNS, STATES, STEPS, TABLES, WEIGHTS
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import (
    assert_same_tables,
    run_ids,
    run_study,
    small_plan,
    statuses,
)


def test_a_finished_study_has_every_run_every_level_and_every_documented_column(finished):
    study, plan = read_study(finished), small_plan()
    assert set(study.runs["status"]) == {"done"}
    assert study.runs.columns == [column.name for column in JOINED_RUNS]
    assert study.states.columns == [column.name for column in JOINED_STATES]
    # Two replicates: the dense network, three levels, two tickets.
    assert study.states.height == 12
    assert study.weights(run_ids(plan, "trajectory")[0], 3)["hidden"].indices.size == 33
    assert study.problems == []


def test_errors_are_signed_and_relative_to_the_reference(finished):
    states = read_study(finished).states
    reference, sites = -4.0 * 4, 4
    np.testing.assert_allclose(states["relative_error"], (states["energy"] - reference) / 16, rtol=1e-15)
    np.testing.assert_allclose(states["error_per_spin"], (states["energy"] - reference) / sites, rtol=1e-15)
    np.testing.assert_allclose(states["relative_error_error"], 0.1 / 16, rtol=1e-15)
    np.testing.assert_allclose(states["error_per_spin_error"], 0.1 / 4, rtol=1e-15)


def test_tickets_cluster_by_their_trajectory_and_its_dense_run(finished):
    plan, states = small_plan(), read_study(finished).states
    for row in states.iter_rows(named=True):
        job = plan.jobs[row["run_id"]]
        trajectory = {"dense": None, "trajectory": row["run_id"], "ticket": job.parent_run_id}[job.kind]
        assert row["trajectory_run_id"] == trajectory
        assert row["dense_run_id"] == job.dense.run_id


def test_a_level_without_its_row_of_states_does_not_count(copy):
    directory, (trajectory, _) = RunDirectory(copy), run_ids(small_plan(), "trajectory")
    directory.part(STATES, trajectory, 3).unlink()
    study = read_study(copy)
    assert directory.part(WEIGHTS, trajectory, 3).exists()
    assert study.all_weights.filter(run_id=trajectory, level=3).is_empty()
    assert study.steps.filter(run_id=trajectory, level=3).is_empty()
    # The row of `runs` was written before the level was committed: it doesn't count either.
    (run,) = study.runs.filter(run_id=trajectory).iter_rows(named=True)
    assert directory.part(RUNS, trajectory, 3).exists()
    assert (run["status"], run["outcome"], run["levels_done"]) == ("ready", None, 2)
    with pytest.raises(StudyError, match="no level 3"):
        study.weights(trajectory, 3)


def test_a_study_that_has_not_begun_is_all_ready_or_waiting(tmp_path):
    study = read_study(tmp_path / "nothing", small_plan())
    expected = {"dense": "ready", "trajectory": "waiting", "ticket": "waiting"}
    assert {kind: status for kind, status in study.runs.select("kind", "status").iter_rows()} == expected
    assert study.states.is_empty() and study.steps.is_empty() and study.all_weights.is_empty()
    assert not (tmp_path / "nothing").exists()


def test_a_place_without_a_study_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(StudyError, match="neither a run directory .* nor an export"):
        read_study(tmp_path)


def test_failed_diverged_and_blocked_are_told_from_files_with_their_reasons(tmp_path):
    plan = small_plan()
    (bad, good), (_, diverging) = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    run_study(tmp_path, plan, FakeEngine(bugs=((bad, 0),), diverges=((diverging, 2),)))
    runs = {row["run_id"]: row for row in read_study(tmp_path).runs.iter_rows(named=True)}
    assert runs[bad]["status"] == "failed"
    assert runs[bad]["reason"].startswith("RuntimeError: a bug on purpose (fake_engine.py:")
    assert runs[good]["status"] == "done"
    assert (runs[diverging]["status"], runs[diverging]["levels_done"]) == ("diverged", 1)
    assert runs[diverging]["reason"] == "the energy is nan at step 5"
    for row in runs.values():
        if row["kind"] == "ticket":
            cause = bad if row["dense_run_id"] == bad else diverging
            assert (row["status"], row["blocked_by"]) == ("blocked", cause)


def test_a_run_of_older_numerics_is_stale(copy, monkeypatch):
    monkeypatch.setattr(store, "NUMERICS_VERSION", identity.NUMERICS_VERSION + 1)
    assert set(statuses(copy).values()) == {"stale"}


def test_running_needs_a_driver_and_a_checkpoint_of_its_own_time(tmp_path):
    plan = small_plan(replicates=1)
    (dense,) = run_ids(plan, "dense")
    # The first task's first stretch, of three: it has a checkpoint and is not done.
    run_study(tmp_path, plan, stop_after=1)
    directory = RunDirectory(tmp_path)
    (checkpoint,) = directory.checkpoints.iterdir()
    assert statuses(tmp_path)[dense] == "ready"
    with directory.lock() as holder:
        os.utime(checkpoint, (holder.since.timestamp() - 9,) * 2)
        assert statuses(tmp_path)[dense] == "ready"
        os.utime(checkpoint, (holder.since.timestamp() + 1,) * 2)
        assert statuses(tmp_path)[dense] == "running"


def test_runs_that_the_sweep_no_longer_asks_for_stay_readable(copy):
    smaller = small_plan(replicates=1)
    study = read_study(copy, smaller)
    assert study.runs["planned"].to_list().count(False) == 4
    assert study.states.height == 12


@pytest.mark.parametrize("table", [STATES, RUNS, REFERENCES, STEPS, WEIGHTS])
@pytest.mark.parametrize("left", [0, 3, 60, -10])
def test_a_truncated_file_is_named_and_the_rest_is_read(table, left, copy):
    whole = read_study(copy)
    path = min((copy / "tables" / table.name).iterdir())
    path.write_bytes(path.read_bytes()[:left])
    study = read_study(copy)
    assert study.problems[0].startswith(f"{path} is truncated or damaged")
    assert study.runs.height == whole.runs.height
    assert study.states.height >= whole.states.height - 1
    assert study.steps.height > 0 and study.all_weights.height > 0


def test_a_file_of_another_kind_is_named(copy):
    path = copy / "tables" / "states" / "d0.0.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    assert read_study(copy).problems == [
        f"{path} is not a file of the table states: it has no column 'run_id'"
    ]
    pl.DataFrame({"run_id": [1], "level": [0]}).write_parquet(path)
    (problem,) = read_study(copy).problems
    assert problem.startswith(f"{path} does not fit the table states")
    assert "\n" not in problem


def test_missing_weights_of_a_committed_level_are_named(copy):
    path = min((copy / "tables" / "weights").iterdir())
    path.unlink()
    (problem,) = read_study(copy).problems
    assert problem.startswith(f"{path} is missing, but level 0 of run ")


def test_a_half_done_compaction_is_never_seen(copy):
    whole = read_study(copy)
    for table in TABLES.values():
        parts = sorted((copy / "tables" / table.name).glob("*.parquet"))
        if table is not WEIGHTS and table is not STEPS and parts:
            pl.concat([pl.read_parquet(part) for part in parts]).write_parquet(
                parts[0].with_name("merged.parquet")
            )
            parts[-1].unlink()
    assert_same_tables(whole, read_study(copy))


def test_the_most_trusted_reference_is_used(copy):
    directory, plan = RunDirectory(copy), small_plan()
    job = plan.jobs[run_ids(plan, "reference")[0]]
    row = FakeEngine().reference_energy(job.hamiltonian)
    single = row | {"method": "dmrg", "energy": -1.0, "bond_dimension": 32}
    rows = [single, row | {"method": "exact", "energy": -15.0}]
    directory.write_rows(REFERENCES, directory.part(REFERENCES, "e0"), rows, "x")
    states = read_study(copy).states
    assert set(states["reference_method"]) == {"exact"}
    assert set(states["reference_energy"]) == {-15.0}


def reference_rows(energies: dict[int, float], parity: str = "even") -> list[dict]:
    """A DMRG series of the small study: its energies by bond dimension, each a fourth of the weight before."""
    (hamiltonian,) = {job.hamiltonian for job in small_plan().jobs.values() if job.kind == "reference"}
    row = FakeEngine().reference_energy(hamiltonian) | {
        "method": "dmrg",
        "parity": parity,
        "energy_error": None,
    }
    return [
        row | {"bond_dimension": bond, "energy": energy, "truncation_error": 4.0**-k, "seconds": 2.0}
        for k, (bond, energy) in enumerate(energies.items())
    ]


def with_references(path, rows: list[dict]):
    """The study with these references in place of its own."""
    directory = RunDirectory(path)
    for part in directory.table(REFERENCES).iterdir():
        part.unlink()
    directory.write_rows(REFERENCES, directory.part(REFERENCES, "e0"), rows, "x")
    return read_study(path)


def test_a_series_is_extrapolated_and_serves_as_the_reference_with_its_error(copy):
    energies = {32: -11.0, 64: -14.0, 96: -14.75}  # −15 + 4 w
    study = with_references(copy, reference_rows(energies))
    extrapolated = study.references.filter(pl.col("bond_dimension").is_null()).row(0, named=True)
    assert extrapolated["energy"] == pytest.approx(-15.0)
    assert extrapolated["energy_error"] == pytest.approx(0.25)
    assert extrapolated["seconds"] == 6.0
    states = study.states
    assert set(states["reference_method"]) == {"dmrg"}
    np.testing.assert_allclose(states["reference_energy"], -15.0)
    # The network's error is 0.1 and the reference's 0.25.
    np.testing.assert_allclose(states["relative_error_error"], np.hypot(0.1, 0.25) / 15)


def test_two_bond_dimensions_are_no_reference(copy):
    study = with_references(copy, reference_rows({32: -11.0, 64: -14.0}))
    assert study.references.height == 2
    assert study.states["reference_energy"].null_count() == 12


def test_an_odd_series_is_no_reference_and_gives_the_gap(copy):
    energies = {32: -11.0, 64: -14.0, 96: -14.75}
    odd = reference_rows({bond: energy + 2 for bond, energy in energies.items()}, "odd")
    study = with_references(copy, odd)
    assert study.states["reference_energy"].null_count() == 12
    study = with_references(copy, reference_rows(energies) + odd)
    assert set(study.states["reference_method"]) == {"dmrg"}
    even = study.references.filter(parity="even")
    np.testing.assert_allclose(even["gap"], 2.0)
    assert study.references.filter(parity="odd")["gap"].null_count() == 4


@pytest.mark.parametrize("errors_below, flagged", [(4.9, False), (5.1, True)])
def test_an_energy_significantly_below_its_reference_is_flagged(errors_below, flagged, copy):
    job = next(job for job in small_plan().jobs.values() if job.kind == "reference")
    state = read_study(copy).states.row(0, named=True)
    row = FakeEngine().reference_energy(job.hamiltonian)
    error = np.hypot(state["energy_error"], 0.05)
    row |= {"energy": state["energy"] + errors_below * error, "energy_error": 0.05}
    study = with_references(copy, [row])
    found = study.states.filter(run_id=state["run_id"], level=state["level"])["below_reference"].item()
    assert found is flagged


def below(study, state: dict) -> bool | None:
    """The flag of a state of the study."""
    return study.states.filter(run_id=state["run_id"], level=state["level"])["below_reference"].item()


def with_reference_at(path, energy: float, error: float | None):
    """The study with this energy as its one reference."""
    job = next(job for job in small_plan().jobs.values() if job.kind == "reference")
    row = FakeEngine().reference_energy(job.hamiltonian) | {"energy": energy, "energy_error": error}
    return with_references(path, [row])


def with_energy_errors(path, error: float | None) -> None:
    """Give every committed state this standard error."""
    for part in (path / "tables" / "states").iterdir():
        pl.read_parquet(part).with_columns(energy_error=pl.lit(error, pl.Float64)).write_parquet(part)


@pytest.mark.parametrize("roundings_below, flagged", [(-100, False), (0.9, False), (1.1, True)])
def test_an_exact_sum_below_an_exact_reference_is_flagged_where_it_is_no_rounding(
    roundings_below, flagged, copy
):
    """Neither has an error: what counts is a relative 1e-11."""
    with_energy_errors(copy, 0.0)
    state = read_study(copy).states.row(0, named=True)
    reference = state["energy"] + roundings_below * 1e-11 * abs(state["energy"])
    assert below(with_reference_at(copy, reference, 0.0), state) is flagged


@pytest.mark.parametrize("errors_below, flagged", [(4.9, False), (5.1, True)])
def test_an_exact_sum_is_compared_by_the_references_error(errors_below, flagged, copy):
    with_energy_errors(copy, 0.0)
    state = read_study(copy).states.row(0, named=True)
    assert below(with_reference_at(copy, state["energy"] + errors_below * 1e-6, 1e-6), state) is flagged


def test_an_energy_without_a_reference_or_of_unknown_error_is_not_flagged(copy):
    state = read_study(copy).states.row(0, named=True)
    with_energy_errors(copy, None)
    assert below(with_reference_at(copy, 0.0, 0.0), state) is None
    with_energy_errors(copy, 0.1)
    assert below(with_reference_at(copy, 100.0, 0.0), state) is True
    directory = RunDirectory(copy)
    for part in directory.table(REFERENCES).iterdir():
        part.unlink()
    study = read_study(copy)
    assert study.states["reference_energy"].null_count() == 12
    assert study.states["below_reference"].null_count() == 12
    assert study.states.filter("below_reference").is_empty()


@pytest.mark.parametrize("reference", [0.0, -2e-16])
def test_next_to_a_reference_of_0_there_is_no_relative_error(reference, copy):
    job = next(job for job in small_plan().jobs.values() if job.kind == "reference")
    row = FakeEngine().reference_energy(job.hamiltonian)
    states = with_references(copy, [row | {"energy": reference, "energy_error": 0.0}]).states
    for name in ("relative_error", "relative_error_error"):
        assert states[name].null_count() == states.height == 12
    np.testing.assert_allclose(states["error_per_spin"], states["energy"] / 4, rtol=1e-12)


def test_references_of_version_2_without_parities_are_ground_states(copy):
    for path in (copy / "tables" / "references").iterdir():
        pl.read_parquet(path).drop("parity", "gap", "seconds").write_parquet(path)
    study = read_study(copy)
    assert study.problems == []
    assert set(study.references["parity"]) == {"even"}
    assert study.states["relative_error"].null_count() == 0


def test_references_of_the_repository_serve_where_the_study_has_none(copy, tmp_path, monkeypatch):
    directory, plan = RunDirectory(copy), small_plan()
    (reference,) = run_ids(plan, "reference")
    moved = tmp_path / "references.parquet"
    directory.part(REFERENCES, reference, 0).rename(moved)
    assert read_study(copy).states["relative_error"].null_count() == 12
    monkeypatch.setattr(store, "REPOSITORY_REFERENCES", moved)
    assert read_study(copy).states["relative_error"].null_count() == 0


@pytest.mark.parametrize("column", ["r_hat", "correlation_z"])
def test_an_older_table_without_a_column_reads_as_null(copy, column):
    for path in (copy / "tables" / "states").iterdir():
        pl.read_parquet(path).drop(column).write_parquet(path)
    study = read_study(copy)
    assert study.problems == []
    assert study.states[column].null_count() == 12
    assert study.states[column].dtype == (pl.Float64 if column == "r_hat" else pl.List(pl.Float64))


# --- the export


def test_an_export_reads_as_the_run_directory_does(finished, tmp_path):
    study = read_study(finished)
    export_study(study, tmp_path / "export")
    exported = read_study(tmp_path / "export")
    assert (exported.sweep, exported.profile, exported.problems) == ("small", "paper", [])
    for name in ("runs", "states", "references", "attempts"):
        assert getattr(exported, name).equals(getattr(study, name)), name
    assert_same_tables(study, exported)
    trajectory = run_ids(small_plan(), "trajectory")[0]
    np.testing.assert_array_equal(
        exported.weights(trajectory, 2)["hidden"].values, study.weights(trajectory, 2)["hidden"].values
    )


def test_one_line_on_the_export_gives_relative_error_against_weights_per_spin(finished, tmp_path):
    export_study(read_study(finished), tmp_path / "export")
    curve = pl.read_parquet(tmp_path / "export" / "states.parquet").select(
        "parameters_per_spin", "relative_error"
    )
    assert curve.height == 12 and curve.null_count().sum_horizontal().item() == 0


def test_every_column_of_the_export_is_described_in_its_footer_and_in_the_dictionary(finished, tmp_path):
    import pyarrow.parquet as pq

    export_study(read_study(finished), tmp_path / "export")
    dictionary = (tmp_path / "export" / "DATA.md").read_text()
    for name in TABLES:
        for field in pq.read_schema(tmp_path / "export" / f"{name}.parquet"):
            description = field.metadata[b"description"].decode().replace("|", "∣")
            line = f"^\\| {field.name} \\| .* \\| {re.escape(description)} \\|$"
            assert re.search(line, dictionary, re.MULTILINE), field.name


def test_an_export_has_a_row_of_masks_for_every_layer_of_weights(finished, tmp_path):
    study = read_study(finished)
    export_study(study, tmp_path / "export")
    found = pl.read_parquet(tmp_path / "export" / "masks.parquet")
    weights = pl.read_parquet(tmp_path / "export" / "weights.parquet")
    key = ["run_id", "level", "layer"]
    assert found.select(key).equals(weights.select(key)) and found.height == 12
    # 2 × 2 sites open, 16 units: of the six pairs four are neighbours and two are across.
    expected_pair = (4 + 2 * math.sqrt(2)) / 6
    for row, layer in zip(found.iter_rows(named=True), weights.iter_rows(named=True), strict=True):
        units = [{i // 16 for i in layer["indices"] if i % 16 == unit} for unit in range(16)]
        degrees = [len(spins) for spins in units]
        assert (row["live_weights"], row["units"]) == (len(layer["indices"]), 16)
        assert (row["live_units"], row["dead_units"]) == (16 - degrees.count(0), degrees.count(0))
        assert row["unit_degree_mean"] == row["live_weights"] / 16 == row["spin_degree_mean"] / 4
        assert math.isclose(row["unit_degree_variance"], np.var(degrees), abs_tol=1e-12)
        assert math.isclose(row["expected_pair_distance"], expected_pair, rel_tol=1e-12)
        largest = [math.sqrt(2) if {0, 3} <= s or {1, 2} <= s else 1 for s in units if len(s) > 1]
        assert row["units_with_pairs"] == len(largest)
        assert math.isclose(row["range"], np.mean(largest), rel_tol=1e-12)
    # Random masks have more dead units the more is pruned; none of the dense ones.
    dense = found.filter(pl.col("live_weights") == 64)
    assert dense["expected_dead_units"].to_list() == [0, 0]
    assert (found.filter(pl.col("live_weights") < 64)["expected_dead_units"] > 0).all()


def test_layers_that_are_not_sites_by_hidden_units_have_their_live_weights_and_nulls():
    layers = [("hidden", [4, 3]), ("hidden", [3, 4]), ("kernel", [2, 2, 1, 4]), ("second", [4, 3])]
    weights = pl.DataFrame(
        [
            {
                "run_id": "t0",
                "level": 1,
                "layer": layer,
                "shape": shape,
                "indices": [0, 3, 4],
                "values": [1.0, -2.0, 0.0],
            }
            for layer, shape in layers
        ]
    )
    runs = pl.DataFrame(
        {"run_id": ["t0"], "hamiltonian": ["pauli"], "sites": [4], "side": [2], "boundary": ["open"]}
    )
    found = mask_statistics(weights, runs)
    assert found["live_weights"].to_list() == [2] * 4
    assert found["dead_units"].to_list() == [2, None, None, None]
    assert found["spin_degree_mean"].null_count() == 3
    # Four sites of linear size 2 in an order that nobody knows: degrees, and no distances.
    assert found["pair_distance"].null_count() == found["expected_pair_distance"].null_count() == 4
    chain = mask_statistics(weights, runs.with_columns(side=pl.lit(4)))
    assert chain["expected_pair_distance"].to_list() == [10 / 6, None, None, None]
    assert (chain["pair_distance"][0], chain["units_with_pairs"][0]) == (1, 1)
    # No unit has a pair: an average over none is a null, not a NaN.
    single = weights.head(1).with_columns(indices=pl.lit([0, 1, 2]))
    (row,) = mask_statistics(single, runs.with_columns(side=pl.lit(4))).iter_rows(named=True)
    assert (row["units_with_pairs"], row["pair_distance"], row["range"]) == (0, None, None)
    assert mask_statistics(weights, runs.clear())["live_weights"].to_list() == [2] * 4


def test_an_export_replaces_an_export_of_the_same_study_and_nothing_else(finished, tmp_path):
    study, target = read_study(finished), tmp_path / "export"
    export_study(study, target)
    export_study(study, target)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(StudyError, match=r"holds something else \('notes.txt'\)"):
        export_study(study, target)
    assert (target / "notes.txt").read_text() == "mine"

    other = tmp_path / "other"
    run_study(other, small_plan(name="other", tickets=Tickets(variants=["init_imp"], levels=[1])))
    (target / "notes.txt").unlink()
    with pytest.raises(StudyError, match="something else than an export of 'other'"):
        export_study(read_study(other), target)


def test_a_damaged_study_is_not_exported(copy, tmp_path):
    path = min((copy / "tables" / "steps").iterdir())
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StudyError, match="truncated or damaged"):
        export_study(read_study(copy), tmp_path / "export")
    assert not (tmp_path / "export").exists()
