"""Exports as CSV, and what holds for both formats."""

import json
import re
import shutil

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from orchestrator.__main__ import main
from orchestrator.export import export_study
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.store import read_study
from orchestrator.tables import STATES
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import SWEEP_FILE, run_ids, run_study, small_plan

LIST = [0.5, 1 / 3, 1e-300]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study; one dense network has a list, one with a NaN in it, and one run diverged."""
    path = tmp_path_factory.mktemp("finished") / "run"
    plan = small_plan()
    run_study(path, plan, FakeEngine(diverges=((run_ids(plan, "trajectory")[1], 2),)))
    for run_id, values in zip(run_ids(plan, "dense"), (LIST, [1.0, float("nan")]), strict=True):
        part = RunDirectory(path).part(STATES, run_id, 0)
        pl.read_parquet(part).with_columns(correlation_z=pl.lit(values)).write_parquet(part)
    return path


@pytest.fixture
def exported(finished, tmp_path):
    export_study(read_study(finished), tmp_path / "csv", "csv")
    return tmp_path / "csv"


@pytest.mark.parametrize("name", ["runs", "states", "steps", "references", "attempts"])
def test_csv_holds_every_number_that_the_study_has(name, finished, exported):
    study = read_study(finished)
    expected = getattr(study, name)
    if name == "steps":
        expected = expected.sort("run_id", "level", "step")
    lists = [column for column, kind in expected.schema.items() if isinstance(kind, pl.List)]
    types = {column: pl.String if column in lists else kind for column, kind in expected.schema.items()}
    found = pl.read_csv(exported / f"{name}.csv", schema=types, try_parse_dates=True)
    assert found.drop(lists).equals(expected.drop(lists))
    if name != "attempts":
        assert found.height > 0


def test_training_curves_are_thinned_to_every_so_many_th_step_ten_a_decade_before_it_and_the_last(
    finished, tmp_path
):
    study = read_study(finished)
    export_study(study, tmp_path / "thin", steps_every=3)
    thin, level = read_study(tmp_path / "thin").steps, ["run_id", "level"]
    steps_of = [
        dict(
            frame.group_by(level)
            .agg(pl.col("step").sort())
            .select(pl.struct(level).struct.json_encode(), "step")
            .iter_rows()
        )
        for frame in (study.steps, thin)
    ]
    for key, steps in steps_of[0].items():
        assert steps_of[1][key] == [step for step in steps if step in (1, 2, 3, 6, steps[-1])]
    assert thin.equals(
        study.steps.join(thin.select(*level, "step"), on=[*level, "step"], how="semi").sort(*level, "step")
    )


def test_lists_are_json_and_what_is_not_a_number_in_them_is_null(finished, exported):
    dense = run_ids(small_plan(), "dense")
    found = pl.read_csv(exported / "states.csv").filter(pl.col("kind") == "dense")
    lists = dict(found.select("run_id", "correlation_z").iter_rows())
    assert json.loads(lists[dense[0]]) == LIST
    assert json.loads(lists[dense[1]]) == [1.0, None]
    assert found["wilson_loops"].null_count() == 2


def test_csv_leaves_the_weights_out_and_says_so_and_describes_all_else(exported):
    assert sorted(path.name for path in exported.iterdir()) == sorted(
        ["DATA.md", *(f"{n}.csv" for n in ("runs", "states", "steps", "masks", "references", "attempts"))]
    )
    dictionary = (exported / "DATA.md").read_text()
    assert "The table weights is in exports as Parquet alone" in dictionary
    assert "## weights" not in dictionary
    for path in exported.glob("*.csv"):
        section = dictionary.split(f"## {path.name}\n")[1].split("\n## ")[0]
        described = re.findall(r"^\| (\w+) \| (.+?) \| .+ \|$", section, re.MULTILINE)[1:]
        assert [name for name, _ in described] == path.read_text().splitlines()[0].split(",")
    assert "| correlation_z | JSON |" in dictionary


def test_a_folder_has_one_format(finished, exported, tmp_path):
    study = read_study(finished)
    export_study(study, exported, "csv")
    with pytest.raises(StudyError, match=r"csv holds something else \('attempts.csv'\)"):
        export_study(study, exported)
    export_study(study, tmp_path / "parquet")
    with pytest.raises(StudyError, match=r"parquet holds something else \('attempts.parquet'\)"):
        export_study(study, tmp_path / "parquet", "csv")
    (exported / "DATA.md").unlink()
    with pytest.raises(StudyError, match="something else than an export of 'small'"):
        export_study(study, exported, "csv")


def test_both_formats_have_the_rows_in_the_order_that_the_dictionary_names(finished, exported, tmp_path):
    export_study(read_study(finished), tmp_path / "parquet")
    for name, order in (
        ("states", ["kind", "side", "run_id", "level"]),
        ("steps", ["run_id", "level", "step"]),
        ("masks", ["run_id", "level", "layer"]),
    ):
        for rows in (
            pl.read_csv(exported / f"{name}.csv", infer_schema_length=None),
            pl.read_parquet(tmp_path / "parquet" / f"{name}.parquet"),
        ):
            assert rows.height > 1 and rows.select(order).equals(rows.select(order).sort(order))
        assert f"Sorted by {', '.join(order)}." in (tmp_path / "parquet" / "DATA.md").read_text()


def test_the_format_is_a_flag_of_the_export(finished, tmp_path, capsys):
    file = tmp_path / "small.py"
    file.write_text(SWEEP_FILE)
    out = shutil.copytree(finished, tmp_path / "run")
    command = [str(file), "--out", str(out)]
    assert main([*command, "--export", str(tmp_path / "csv"), "--format", "csv"]) == 0
    assert "wrote 7 files" in capsys.readouterr().out
    energies = pl.read_csv(tmp_path / "csv" / "states.csv")["energy"]
    np.testing.assert_array_equal(energies, read_study(out).states["energy"])
    with pytest.raises(SystemExit) as refused:
        main([*command, "--status", "--format", "csv"])
    assert refused.value.code == 2
    assert "argument --format: not with --status; only with --export" in capsys.readouterr().err


def test_floats_of_an_export_are_stored_by_the_significance_of_their_bytes(finished, tmp_path):
    """A quarter of its size; names of leaves that the writer does not know would be passed over in silence."""
    export_study(read_study(finished), tmp_path)
    for name, column in (("steps", "energy"), ("weights", "values.list.element")):
        group = pq.read_metadata(tmp_path / f"{name}.parquet").row_group(0)
        columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        assert "BYTE_STREAM_SPLIT" in columns[column].encodings
        assert "BYTE_STREAM_SPLIT" not in columns["level"].encodings
