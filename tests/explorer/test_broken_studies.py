"""Every page on studies that are half there: a sentence, and the rest still works."""

import shutil

import polars as pl
import pytest

from orchestrator.export import export_study
from orchestrator.store import read_study
from tests.explorer.conftest import APP, NETWORKS
from tests.explorer.synthetic_study import write_run_directory

PAGES = sorted(path.stem for path in (APP.parent / "views").glob("*.py") if "st.title(" in path.read_text())


@pytest.fixture(scope="module")
def broken(finished, tmp_path_factory):
    """A finished study with one truncated file in each table, an unknown one, and a file still being written."""
    path = shutil.copytree(finished, tmp_path_factory.mktemp("broken") / "broken-tiny")
    for table in ("runs", "states", "steps", "weights"):
        part = min((path / "tables" / table).glob("*.parquet"))
        copy = part.with_name(f"k0000000000000000.{table}.parquet")
        copy.write_bytes(part.read_bytes()[:-9])
    pl.DataFrame({"x": [1]}).write_parquet(path / "tables" / "states" / "foreign.parquet")
    (path / ".staging").mkdir(exist_ok=True)
    (path / ".staging" / "states.k1.parquet").write_bytes(b"half")
    return path


@pytest.fixture(scope="module")
def sparse(finished, tmp_path_factory):
    """An export of an older program: without three tables, and without columns that came later."""
    path = tmp_path_factory.mktemp("sparse") / "sparse"
    export_study(read_study(finished), path)
    for name in ("steps", "weights", "masks", "references"):
        (path / f"{name}.parquet").unlink()
    states = pl.read_parquet(path / "states.parquet")
    states.drop("energy_drift", "energy_drift_error", "mask_field", "v_score", strict=False).write_parquet(
        path / "states.parquet"
    )
    return path


def test_all_pages_are_looked_at():
    listed = APP.read_text()
    assert len(PAGES) > 12
    assert all(f"views/{page}.py" in listed for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_damaged_study_names_the_files_and_shows_the_rest(app, broken, page):
    test = app(broken, page)
    assert not test.exception
    assert any("truncated or damaged" in warning.value for warning in test.warning)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_older_export_without_some_tables_still_works(app, sparse, page):
    test = app(sparse, page)
    assert not test.exception
    assert any("has no steps.parquet" in warning.value for warning in test.warning)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("overview", "data", "figure_sheet")])
def test_a_page_of_a_study_that_has_just_begun_says_that_nothing_is_there_yet(app, untrained, page):
    test = app(untrained, page)
    assert not test.exception and not test.error
    assert test.info or test.dataframe


@pytest.mark.parametrize("page", PAGES)
def test_a_page_draws_what_there_is_after_the_first_network(app, untrained, page):
    write_run_directory(untrained, NETWORKS, trained=1)
    assert not app(untrained, page).exception
