"""What is known of the Hamiltonians, and the study's tables to take away."""

import io
import shutil
import zipfile

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from explorer import analysis, charts
from explorer.bundle import packed_export
from nqs.identity import NUMERICS_VERSION
from orchestrator.data_dictionary import EXPORTED
from orchestrator.export import export_study
from orchestrator.store import REPOSITORY_REFERENCES, read_study
from orchestrator.tables import WEIGHTS
from tests.explorer.test_views import texts


@pytest.fixture(scope="module")
def references() -> pl.DataFrame:
    return pl.read_parquet(REPOSITORY_REFERENCES)


def row(field: float, energy: float, error: float | None, **more) -> dict:
    return {
        "hamiltonian": "tfim",
        "hamiltonian_parameters": f"{field}",
        "side": 4,
        "boundary": "open",
        "field": field,
        "parity": "even",
        "energy": energy,
        "energy_error": error,
        "method": "ed",
        "bond_dimension": None,
        "truncation_error": None,
        "gap": None,
        "gap_error": None,
        "seconds": 1.0,
        "provenance": "",
    } | more


def test_an_energy_by_another_method_is_compared_with_the_most_certain_one():
    known = [
        row(1.0, -20.0, 3e-3),
        row(1.0, -19.9, 4e-3, method="dmrg", bond_dimension=32),
        row(1.0, -18.0, 1e-9, parity="odd"),
        row(2.0, -30.0, 1e-9),
    ]
    (only,) = analysis.reference_differences(pl.DataFrame(known, infer_schema_length=None)).to_dicts()
    assert (only["field"], only["method"], only["against"]) == (1.0, "dmrg", "ed")
    assert only["difference"] == pytest.approx(0.1)
    assert only["difference_error"] == pytest.approx(5e-3)
    assert only["deviation"] == pytest.approx(20)


def test_the_gap_of_a_field_is_the_one_that_is_known_best():
    known = [row(1.0, -20.0, 1e-9, gap=0.31, gap_error=0.02), row(1.0, -20.0, 1e-9, gap=0.3, gap_error=0.01)]
    gaps = analysis.gaps(pl.DataFrame(known, infer_schema_length=None))
    assert gaps["gap"].to_list() == [0.3]
    assert analysis.gap_headline(gaps) == "The gap closes to 0.3 J at h = 1, L = 4"


def test_methods_agree_on_the_shipped_energies_within_their_errors(references):
    compared = analysis.reference_differences(references).drop_nulls("deviation")
    assert compared.height > 10
    assert compared["deviation"].abs().max() < 4


def test_shipped_gaps_grow_with_the_field_and_are_all_drawn(references):
    gaps = analysis.gaps(references)
    for _, side in gaps.filter(boundary="open", side=4).group_by("side"):
        assert side.sort("field")["gap"].is_sorted()
    assert charts.svg(charts.gaps(gaps)).count('aria-roledescription="point"') >= gaps.height


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_the_whole_study_is_packed_as_the_command_line_exports_it(app, finished, tmp_path, format):
    test = app(finished, "data")
    # No sweep of the repository has its name.
    assert test.code[0].value.startswith("python -m orchestrator SWEEP.py --profile tiny --out ")
    assert not test.exception and not test.error
    assert "--export" in test.code[0].value
    test.button(key=f"export {format}").click().run()
    assert not test.exception and not test.error
    assert f"made_up-tiny-{format}.zip" in test.get("download_button")[0].label
    archive = zipfile.ZipFile(io.BytesIO(packed_export(read_study(finished), format)))
    written = export_study(read_study(finished), tmp_path / "export", format)
    assert sorted(archive.namelist()) == sorted(path.name for path in written)


@pytest.mark.parametrize("table", [table.name for table in EXPORTED])
def test_every_column_of_every_table_is_explained(app, finished, table):
    test = app(finished, "data", table=table)
    assert not test.exception
    shown = test.dataframe[0].value
    columns = next(columns for found, columns in EXPORTED.items() if found.name == table)
    assert shown["column"].to_list() == [column.name for column in columns]
    assert shown["meaning"].str.len().min() > 3


@pytest.mark.parametrize("table", ["steps", "weights"])
def test_large_tables_are_counted_in_a_run_directory_and_in_its_export(app, finished, tmp_path, table):
    study = read_study(finished)
    export_study(study, tmp_path / "export")
    rows = len(pl.read_parquet(tmp_path / "export" / f"{table}.parquet"))
    assert rows > 0
    for path in (finished, tmp_path / "export"):
        assert f"**{rows:,} rows**" in texts(app(path, "data", table=table).markdown)


def test_rows_of_a_level_that_is_not_committed_are_not_counted_and_those_of_a_damaged_table_are_unknown(
    finished, tmp_path
):
    shutil.copytree(finished, tmp_path / "study")
    weights = tmp_path / "study" / "tables" / "weights"
    part = min(weights.glob("t*.parquet"))
    shutil.copyfile(part, weights / f"{part.name.split('.')[0]}.99.parquet")
    study = read_study(tmp_path / "study")
    assert study.row_count(WEIGHTS) == len(study.all_weights)
    part.write_bytes(b"PAR1")
    assert study.row_count(WEIGHTS) is None


def test_references_say_how_certain_they_are(app, finished):
    test = app(finished, "references")
    assert not test.exception and not test.error
    assert "reference energies" in test.markdown[0].value
    assert set(test.dataframe[0].value["method"]) == set(read_study(finished).references["method"])


@pytest.mark.parametrize("page", ["overview", "data"])
def test_runs_that_older_code_trained_are_told_of_in_an_export_too(app, tmp_path, page):
    """Its column `status` is that of its day; three of the 48 runs get the version before this program's."""
    study = tmp_path / "older"
    shutil.copytree(REPOSITORY_REFERENCES.parent / "toric_exact-laptop", study)
    runs = pq.read_table(study / "runs.parquet")
    versions = [NUMERICS_VERSION - (row < 3) for row in range(len(runs))]
    place = runs.schema.get_field_index("numerics_version")
    older = runs.set_column(
        place, runs.schema.field(place), pa.array(versions, runs.schema.field(place).type)
    )
    pq.write_table(older, study / "runs.parquet")
    told = app(study, page).warning
    assert len(told) == 1 and f"3 of {len(runs)} runs are stale" in told[0].value
    assert (
        f"numerics version {NUMERICS_VERSION - 1}, and this program has {NUMERICS_VERSION}" in told[0].value
    )
    assert not app(REPOSITORY_REFERENCES.parent / "toric_exact-laptop", page).warning
