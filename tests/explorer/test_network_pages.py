"""The pages of a network and of the toric code, on the examples and on studies that lack something."""

import shutil

import polars as pl
import pyarrow as pa
import pytest

from explorer import analysis
from explorer.views import opening
from orchestrator.export import export_study
from orchestrator.store import Study, read_study
from tests.explorer.conftest import APP, NETWORKS
from tests.explorer.synthetic_study import write_run_directory
from tests.explorer.test_views import drawn_charts, texts

DATA = APP.parents[1] / "data"


@pytest.fixture
def toric() -> Study:
    """The example study of the toric code."""
    return read_study(DATA / "toric_code-laptop")


def trajectory_of(study: Study, replicate: int, **where) -> dict:
    """A row of the last level of a trajectory."""
    return (
        study.states.filter(kind="trajectory", replicate=replicate, **where).sort("level").row(-1, named=True)
    )


def classes(study: Study, run_id: str, level: int) -> dict:
    """Units by class, from the weights themselves."""
    row = study.states.row(by_predicate=(pl.col("run_id") == run_id) & (pl.col("level") == level), named=True)
    table = analysis.filters(analysis.hidden_layer(study.weights(run_id, level), row))
    return dict(table.group_by("class").len().iter_rows())


def units_drawn(test) -> list[int]:
    """The hidden units whose weights the first chart has."""
    frames = [
        pa.ipc.open_stream(each.data.data).read_pandas()
        for each in test.get("vega_lite_chart")[0].proto.datasets
    ]
    weights = next(frame for frame in frames if {"unit", "site", "weight"} <= set(frame.columns))
    return list(weights["unit"].unique())


# --- studies that lack something


@pytest.mark.parametrize("page", ["networks", "toric_code"])
def test_without_a_study_or_a_trained_network_a_page_says_so(app, untrained, page, tmp_path):
    test = app(untrained, page)
    assert not test.exception and drawn_charts(test) == 0
    assert texts(test.info).startswith("Nothing here yet")
    shutil.rmtree(tmp_path / "runs")
    test = app(None, page)
    assert not test.exception and "no study could be opened" in texts(test.info)


def test_dense_networks_alone_are_drawn(app, untrained):
    write_run_directory(untrained, NETWORKS, trained=1)
    test = app(untrained, "networks")
    assert not test.exception and not test.warning
    assert "Level 0: relative error" in texts(test.subheader)


def test_a_missing_file_of_weights_gets_a_sentence_and_the_curve_is_shown(app, finished, tmp_path):
    study = tmp_path / "runs" / "part"
    shutil.copytree(finished, study)
    for file in (study / "tables" / "weights").iterdir():
        file.unlink()
    test = app(study, "networks")
    assert not test.exception
    assert "can't be read" in texts(test.warning)
    assert drawn_charts(test) == 1 and "relative error" in texts(test.subheader)


def test_an_export_without_weights_gets_a_sentence_and_the_curves_are_shown(app, tmp_path):
    shutil.copytree(DATA / "toric_code-laptop", tmp_path / "part")
    (tmp_path / "part" / "weights.parquet").unlink()
    test = app(tmp_path / "part", "toric_code")
    assert not test.exception
    # The missing table, the levels without filters and the network shown: not a sentence a level.
    assert len(test.warning) == 3 and "of 31 levels are missing" in texts(test.warning)
    # Without filters there are still the curves and the closed form.
    assert drawn_charts(test) == 5


def test_of_an_export_with_some_weights_the_page_opens_and_compares_networks_that_have_them(
    app, finished, tmp_path
):
    """The level that it would open else is left out, of one trajectory that and of the other the next one too."""
    export_study(read_study(finished), tmp_path / "thin")
    sparse = app(finished, "networks", side="4").query_params
    run, other, level = sparse["run"], sparse["other"], int(sparse["level"])
    left_out = [(run, level), (other, level), (other, level + 1)]
    gone = pl.any_horizontal((pl.col("run_id") == name) & (pl.col("level") == at) for name, at in left_out)
    states, weights = (tmp_path / "thin" / f"{name}.parquet" for name in ("states", "weights"))
    pl.read_parquet(states).with_columns(weights_left_out=pl.when(gone).then(True)).write_parquet(states)
    pl.read_parquet(weights).filter(~gone).write_parquet(weights)
    test = app(tmp_path / "thin", "networks", side="4")
    assert not test.exception and not test.warning
    assert test.query_params["run"] == run and abs(int(test.query_params["level"]) - level) == 1
    assert "Two masks" in texts(test.subheader)


# --- networks


def test_a_link_opens_a_level_and_the_slider_goes_to_another(app, toric):
    run = trajectory_of(toric, 1, width_per_spin=4.0)["run_id"]
    test = app(DATA / "toric_code-laptop", "networks", width_per_spin="4", side="3", run=run, level="12")
    assert not test.exception and not test.error and not test.warning
    assert drawn_charts(test) == 6
    counts = classes(toric, run, 12)
    assert f"{sum(counts.values())} of 72 hidden units live: {counts['odd plaquette']} of class" in texts(
        test.subheader
    )
    assert "Level 12: relative error" in texts(test.subheader)
    assert [label.split(":")[0] for label in test.select_slider(key="level").options] == [
        f"level {level}" for level in range(31)
    ]
    test.select_slider(key="level").set_value("20").run()
    assert test.query_params["level"] == "20" and test.query_params["run"] == run
    counts = classes(toric, run, 20)
    assert f"{sum(counts.values())} of 72 hidden units live" in texts(test.subheader)
    assert "Level 20: relative error" in texts(test.subheader)


def test_a_page_of_a_network_reads_the_weights_of_that_network_and_of_the_one_it_is_compared_with(
    app, toric, monkeypatch
):
    read = []
    weights = Study.weights
    monkeypatch.setattr(Study, "weights", lambda self, *key: read.append(key) or weights(self, *key))
    monkeypatch.setattr(Study, "all_weights", property(lambda self: pytest.fail("the whole table was read")))
    test = app(DATA / "toric_code-laptop", "networks", level="9")
    assert not test.exception
    assert [level for _, level in read] == [9, 9] and read[0][0] == test.query_params["run"]
    assert read[1][0] == test.query_params["other"] != read[0][0]


def test_filters_are_sorted_and_paged_as_asked(app):
    test = app(DATA / "toric_code-laptop", "networks", filters="24", level="9", sort="norm")
    table = test.dataframe[0].value
    assert (table["norm"].diff().dropna() <= 0).all()
    shown = test.selectbox(key="page")
    assert shown.options[0] == f"1–24 of {len(table)}"
    assert set(units_drawn(test)) == set(table["unit"][:24])
    shown.select("2").run()
    assert test.query_params["page"] == "2" and not test.exception
    assert set(units_drawn(test)) == set(table["unit"][48:])
    # A level with fewer filters has no such page any more, and shows the first.
    test.select_slider(key="level").set_value("30").run()
    assert not test.exception and test.query_params["page"] == "0"


def test_masks_are_compared_unit_by_unit_where_networks_started_from_the_same_weights_and_else_are_not(app):
    study = read_study(DATA / "pruning_methods-laptop")
    where = {"network": "ffnn", "method": "imp_wr"}
    first, other = (trajectory_of(study, replicate, **where)["run_id"] for replicate in (0, 1))
    address = {"network": "ffnn", "method": "imp_wr", "side": "4", "run": first, "level": "13"}
    test = app(DATA / "pruning_methods-laptop", "networks", other=other, **address)
    assert not test.exception
    assert "have no common names" in texts(test.caption) and "best match of units" in texts(test.subheader)


def test_a_ticket_is_compared_with_its_trajectory_unit_by_unit_and_stands_on_its_curve(app, toric):
    ticket = toric.states.filter(variant="init_rand").sort("run_id").row(0, named=True)
    address = {"width_per_spin": "4", "run": ticket["run_id"], "other": ticket["trajectory_run_id"]}
    test = app(DATA / "toric_code-laptop", "networks", **address)
    assert not test.exception and not test.warning
    assert "compared unit by unit" in texts(test.caption)
    # Its mask is random, so it shares with the trajectory's what chance gives.
    assert "shared weights" in texts(test.subheader) and "as by chance" in texts(test.subheader)
    series = next(frame.value for frame in test.dataframe if "estimate" in frame.value.columns)["series"]
    assert set(series) == {"trajectory", "init_rand"}


@pytest.mark.parametrize(("network", "kernels"), [("cnn", 4), ("rescnn", 16)])
def test_kernels_of_convolutions_are_drawn_as_tiles(app, network, kernels):
    test = app(DATA / "lottery_tickets-laptop", "networks", network=network)
    assert not test.exception and not test.warning
    # Kernels, the curve, and correlations beside those of the run's ends.
    assert drawn_charts(test) == 3
    assert ": ⟨σᶻσᶻ⟩ is 0." in texts(test.subheader) and "level 0: " in texts(test.caption)
    assert "weights are live" in texts(test.subheader)
    assert test.selectbox(key="page").options == [f"1–{kernels} of {kernels}"]


def test_an_address_that_asks_for_a_run_that_is_not_there_gets_a_sentence_and_the_default(app, finished):
    test = app(finished, "networks", run="<script>", level="999")
    assert not test.exception
    assert "The address asks for run='<script>'" in texts(test.info)
    assert "The address asks for level='999'" in texts(test.info)
    assert test.query_params["run"].startswith("t")


# --- from a mark to its network


def test_a_clicked_mark_is_its_network_and_a_clicked_point_its_first_replicate(finished):
    states = analysis.with_quantities(read_study(finished).states)
    ticket = states.filter(variant="rand_imp", replicate=0, side=4, level=2).sort("run_id").row(1, named=True)
    mark = {name: ticket[name] for name in ("run_id", "level", "series", "side")}
    opened = opening.clicked([mark], states)
    assert opening.link(opened) == {
        "hamiltonian": "tfim",
        "hamiltonian_name": "tfim",
        "field": "3.04438",
        "network": "ffnn",
        "width_per_spin": "8",
        "method": "imp_wr",
        "side": "4",
        "run": ticket["run_id"],
        "level": "2",
    }
    point = {"run_id": None, "level": 4, "series": "trajectory", "side": 3}
    found = opening.clicked([point], states)
    assert (found["level"], found["series"], found["side"], found["replicate"]) == (4, "trajectory", 3, 0)
    # A dense network is level 0 of a trajectory, where the slider leads on.
    dense = states.filter(kind="dense", side=3, replicate=1).row(0, named=True)
    opened = opening.clicked([{"run_id": dense["run_id"], "level": 0}], states)
    assert (opened["level"], opened["method"]) == (0, "imp_wr")
    assert states.filter(run_id=opened["run_id"])["dense_run_id"].unique().to_list() == [dense["run_id"]]
    # Nothing, a line of no level, and a network of another study lead nowhere.
    for selected in ([], [{"side": 4}], [mark | {"run_id": "k0"}]):
        assert opening.clicked(selected, states) is None


# --- the toric code


def test_the_toric_code_has_its_curves_filters_and_energies(app, toric):
    test = app(DATA / "toric_code-laptop", "toric_code", level="12")
    assert not test.exception and not test.error and not test.warning
    assert drawn_charts(test) == 7
    run = test.query_params["run"]
    counts = classes(toric, run, 12)
    assert f"{counts['odd plaquette']} odd-parity filters; 9 of 9 plaquettes" in texts(test.subheader)
    assert "This network: relative error" in texts(test.subheader)
    assert "(α\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}8)" in test.subheader[0].value
    assert "16 per spin" in str(test.get("vega_lite_chart")[0].proto)
    assert "Plaquette expectation value: lowest at" in texts(test.subheader)
    assert "older than the column wilson_loops" in texts(test.info)
    test.radio(key="line").set_value("hidden")
    test.selectbox(key="width_per_spin").select("8").run()
    assert not test.exception and drawn_charts(test) == 7
    assert "16 per spin" not in str(test.get("vega_lite_chart")[0].proto)
    assert "of 144 hidden units live" in texts(test.subheader)


def test_built_networks_of_the_toric_code_are_shown_beside_the_closed_form(app):
    test = app(DATA / "toric_exact-laptop", "toric_code")
    assert not test.exception and not test.warning
    assert drawn_charts(test) == 1
    assert "falls from 0.31 at a = 0.1 to" in texts(test.subheader)
    assert len(test.dataframe[0].value) == 48


def test_a_study_without_the_toric_code_says_which_ones_have_it(app, finished):
    test = app(finished, "toric_code")
    assert not test.exception and drawn_charts(test) == 0
    assert texts(test.info).startswith("This study has no network of the toric code.")
