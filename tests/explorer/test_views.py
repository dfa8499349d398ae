"""Each page on a finished study, on one that has only begun, on damaged ones and on none."""

import dataclasses
import shutil

import polars as pl
import pytest

from explorer import charts
from explorer.views import figures
from orchestrator.export import export_study
from orchestrator.store import read_study
from tests.explorer.conftest import NETWORKS
from tests.explorer.synthetic_study import (
    made_up_networks,
    reference_energy,
    write_diverged_run,
    write_run_directory,
)

CHARTS = {"overview": 1, "lottery_tickets": 2, "finite_size": 5, "training": 1}


def drawn_charts(test) -> int:
    return len(test.get("vega_lite_chart"))


def texts(elements) -> str:
    return "\n".join(element.value for element in elements)


@pytest.mark.parametrize("page", CHARTS)
def test_a_page_draws_its_charts_of_a_finished_study_each_with_its_table(app, finished, page):
    test = app(finished, page)
    assert not test.exception
    assert not test.error and not test.warning
    assert drawn_charts(test) == CHARTS[page]
    assert len(test.dataframe) >= CHARTS[page]
    labels = [button.label for button in test.get("download_button")]
    for ending in ("CSV", "Parquet"):
        assert labels.count(ending) >= CHARTS[page]
    for ending in ("PDF", "SVG", "PNG", "all of it, with the code"):
        assert labels.count(ending) == CHARTS[page]


def test_masks_of_other_fields_have_a_page_of_their_own_and_stay_out_of_the_tickets(app, untrained):
    networks = made_up_networks(sides=(4,), levels=6, ticket_levels=(2, 4), fields=(1.0, 4.0))
    write_run_directory(untrained, networks)
    test = app(untrained, "mask_transfer")
    assert not test.exception and not test.error and not test.warning
    assert drawn_charts(test) == 1
    assert texts(test.subheader) == (
        "Median over fields: error × 3.0 (3.0 to 3.0) under a mask of another field, "
        "error × 40 (40 to 40) under a random one"
    )
    test = app(untrained, "lottery_tickets", field="1")
    assert set(test.dataframe[0].value["series"]) == {"trajectory", "init_imp", "rand_imp", "init_rand"}
    # Two trajectories with two tickets each, not also those of the other field's masks.
    assert test.dataframe[0].value.query("series == 'init_imp'")["networks"].unique() == [4]


def test_transferred_masks_without_reference_energies_get_a_sentence(app, untrained, tmp_path):
    write_run_directory(
        untrained, made_up_networks(sides=(4,), levels=6, ticket_levels=(2,), fields=(1.0, 4.0))
    )
    export_study(read_study(untrained), tmp_path / "export")
    states = pl.read_parquet(tmp_path / "export" / "states.parquet")
    states.with_columns(relative_error=pl.lit(None, pl.Float64)).write_parquet(
        tmp_path / "export" / "states.parquet"
    )
    test = app(tmp_path / "export", "mask_transfer")
    assert not test.exception and drawn_charts(test) == 0
    assert "Relative errors need reference energies" in texts(test.info)


@pytest.mark.parametrize("page", CHARTS)
def test_a_page_of_an_untrained_study_says_so_in_a_sentence(app, untrained, page):
    test = app(untrained, page)
    assert not test.exception and not test.error
    if page == "overview":
        assert test.metric[0].value == "0 of 32"
        assert "32 runs and" in texts(test.subheader)
    else:
        assert texts(test.info).startswith("Nothing here yet")
        assert drawn_charts(test) == 0


@pytest.mark.parametrize("page", CHARTS)
def test_a_page_of_a_study_with_dense_networks_alone_draws_what_there_is(app, untrained, page):
    """No fidelity yet, and no density but one."""
    write_run_directory(untrained, NETWORKS, trained=1)
    test = app(untrained, page)
    assert not test.exception


@pytest.mark.parametrize("page", CHARTS)
def test_without_any_study_a_page_says_how_to_make_one(app, page):
    test = app(None, page)
    assert not test.exception
    assert "no study could be opened" in texts(test.info)
    assert test.code[0].value.startswith("python -m orchestrator ")


@pytest.mark.parametrize("page", CHARTS)
def test_an_export_is_shown_like_the_run_directory_it_came_from(app, finished, page, tmp_path):
    export_study(read_study(finished), tmp_path / "export")
    of_export, of_run = app(tmp_path / "export", page), app(finished, page)
    assert not of_export.exception and not of_export.warning
    assert [heading.value for heading in of_export.subheader] == [h.value for h in of_run.subheader]
    assert texts(of_export.caption) == texts(of_run.caption)


def test_headlines_state_the_numbers_that_the_study_was_made_with(app, finished):
    tickets = app(finished, "lottery_tickets", **{"from": "10", "to": "200"})
    # The made-up tickets of a random mask are 40 times worse, those of new initial weights 1.3 times.
    assert "error × 40 with a random mask, error × 1.3 with new initial weights" in tickets.subheader[0].value
    sizes = app(finished, "finite_size")
    assert "L = 3, 4 agree within a factor of 3" in sizes.subheader[0].value


def test_a_link_reopens_the_view_it_was_copied_from(app, finished):
    first = app(finished, "lottery_tickets")
    first.selectbox(key="side").select("3").run()
    first.selectbox(key="confidence").select("0.95").run()
    first.selectbox(key="from").select("10").run()
    # A browser's address loses what belongs to another page; that of this test doesn't.
    link = {key: value for key, value in first.query_params.items() if key != "status"}
    assert link == {
        "study": first.query_params["study"],
        "print": "single",
        "side": "3",
        "x": "parameters_per_spin",
        "confidence": "0.95",
        "from": "10",
        "to": "13",
    }
    # The address is complete: what is at its default stands in it too, so a later default changes nothing.
    again = app(finished)
    again.query_params.update(link)
    again.switch_page("views/lottery_tickets.py").run()
    assert texts(again.subheader) == texts(first.subheader)
    assert texts(again.caption) == texts(first.caption)
    assert "95%" in texts(again.caption)
    assert link.items() <= again.query_params.items()


@pytest.mark.parametrize(
    ("key", "asked", "shown"),
    [
        ("side", "11", "4"),
        ("side", "__import__('os')", "4"),
        ("confidence", "1e9", "0.68"),
        ("from", "-1", "5"),
        ("to", "4", "13"),
        ("x", "", "parameters_per_spin"),
    ],
)
def test_an_address_that_asks_for_what_is_not_there_gets_a_sentence_and_the_default(
    app, finished, key, asked, shown
):
    test = app(finished)
    test.query_params[key] = asked
    test.switch_page("views/lottery_tickets.py").run()
    assert not test.exception
    assert f"The address asks for {key}={asked!r}" in texts(test.info)
    assert test.query_params[key] == shown
    assert drawn_charts(test) == 2


def test_a_users_criterion_is_a_method_of_every_page_and_of_its_address(app, untrained):
    """Its name has a colon, as an address, a chart's field or a text's markup may not like."""
    own = "my_criterion:movement"
    others = made_up_networks(trajectories=2, levels=6, ticket_levels=(2, 4), ticket_replicates=1, method=own)
    write_run_directory(untrained, [*NETWORKS, *(each for each in others if each.run.kind != "dense")])
    for page in CHARTS:
        test = app(untrained, page, method=own)
        assert not test.exception and not test.error and not test.warning
        assert drawn_charts(test) >= 1
        if page in ("lottery_tickets", "finite_size"):
            assert test.selectbox(key="method").options == ["imp_wr", own]
            assert test.selectbox(key="method").value == own
            assert test.query_params["method"] == own


def test_selections_are_kept_over_a_change_of_page(app, finished):
    test = app(finished, "lottery_tickets")
    test.selectbox(key="confidence").select("0.99").run()
    for page in ("overview", "finite_size"):
        test.query_params = {}  # as a browser does on a change of page
        test.switch_page(f"views/{page}.py").run()
    assert "99%" in texts(test.caption)
    assert test.query_params["confidence"] == "0.99"


def test_the_fidelity_is_shown_per_spin_when_asked(app, finished):
    test = app(finished, "finite_size")
    assert "Fidelity with the level before: lowest at" in texts(test.subheader)
    test.radio(key="fidelity").set_value("log_fidelity_per_spin").run()
    assert "Fidelity loss per spin: largest at" in texts(test.subheader)
    assert drawn_charts(test) == 5


def test_the_newest_run_directory_opens_by_itself_and_others_can_be_picked(
    app, untrained, finished, tmp_path
):
    # Copied without its times, so every file of it is newer than the other directory's.
    shutil.copytree(finished, tmp_path / "runs" / "newer-tiny", copy_function=shutil.copyfile)
    test = app()
    assert test.selectbox(key="study").value == "runs/newer-tiny"
    assert test.metric[0].value == "32 of 32"
    test.selectbox(key="study").select("runs/untrained-tiny").run()
    assert test.metric[0].value == "0 of 32"


def test_studies_of_the_same_folder_and_name_can_both_be_picked(app, untrained, finished, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "runs" / untrained.name
    shutil.copytree(finished, elsewhere)
    test = app(elsewhere)
    assert test.metric[0].value == "32 of 32"
    assert test.selectbox(key="study").options == [str(elsewhere), str(untrained)]
    test.selectbox(key="study").select(str(untrained)).run()
    assert test.metric[0].value == "0 of 32"


def test_without_run_directories_the_examples_open(app, finished, tmp_path):
    export_study(read_study(finished), tmp_path / "data" / "example")
    test = app()
    assert test.selectbox(key="study").value == "data/example"
    assert test.metric[0].value == "32 of 32"


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("nowhere", "nowhere does not exist; give a run directory or an exported directory."),
        ("file.txt", "file.txt is a file; give a run directory or an exported directory."),
        (
            "empty",
            "empty is neither a run directory (sweep.json, tables/) nor an export (runs.parquet); give one of them.",
        ),
    ],
)
def test_a_command_line_that_names_no_study_gets_a_sentence(app, argument, sentence, tmp_path):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    test = app(argument)
    assert not test.exception
    assert texts(test.error) == sentence


def test_one_damaged_file_is_named_and_the_rest_is_shown(app, finished, tmp_path):
    study = tmp_path / "runs" / "damaged"
    shutil.copytree(finished, study)
    victim = min((study / "tables" / "weights").glob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:100])
    test = app(study, "finite_size")
    assert not test.exception
    assert victim.name in texts(test.warning)
    assert drawn_charts(test) == CHARTS["finite_size"]


def test_a_half_written_run_directory_gets_a_sentence(app, tmp_path):
    (tmp_path / "runs" / "begun" / "tables" / "states").mkdir(parents=True)
    test = app(tmp_path / "runs" / "begun")
    assert not test.exception
    assert "no sweep.json" in texts(test.warning)
    assert "no study could be opened" in texts(test.info)


@pytest.mark.parametrize("table", ["states", "steps", "references", "weights", "attempts"])
def test_an_export_without_a_table_is_shown_as_far_as_it_goes(app, finished, table, tmp_path):
    export_study(read_study(finished), tmp_path / "part")
    (tmp_path / "part" / f"{table}.parquet").unlink()
    test = app(tmp_path / "part")
    for page in CHARTS:
        test.switch_page(f"views/{page}.py").run()
        assert not test.exception
        assert f"{table}.parquet" in texts(test.warning)
        if page == "lottery_tickets":
            assert drawn_charts(test) == (0 if table == "states" else 2)


def test_results_that_come_in_are_shown_at_the_next_look(app, untrained):
    test = app(untrained)
    assert test.metric[0].value == "0 of 32"
    write_run_directory(untrained, NETWORKS, trained=20)
    test.run()
    assert test.metric[1].value == "20"
    assert "runs and" in test.subheader[0].value
    assert "of one slot remain" in texts(test.caption)


def test_a_diverged_run_is_listed_with_its_reason_and_counts_as_finished(app, untrained):
    write_diverged_run(untrained, NETWORKS[0].run, "diverged: energy is NaN at step 412")
    test = app(untrained)
    assert test.metric[0].value == "1 of 32"
    listed = next(frame.value for frame in test.dataframe if "reason" in frame.value.columns)
    assert "diverged: energy is NaN at step 412" in set(listed["reason"])
    assert test.code[0].value == "No log of this run is here."
    (untrained / "logs").mkdir(exist_ok=True)
    log = [f"line {k}" for k in range(30)]
    (untrained / "logs" / f"{NETWORKS[0].run.run_id}.log").write_text("\n".join(log))
    assert app(untrained).code[0].value.splitlines() == log[-20:]
    # Its trajectory and tickets can't be trained any more, and say so.
    assert (listed["status"] == "blocked").sum() == 7


def written_with_one_energy_below(path, errors: float):
    """A study whose first network lies so many of its errors of 1e-3 below the reference."""
    first, *others = made_up_networks(sides=(4,), trajectories=1, levels=2, ticket_levels=())
    reference, error = reference_energy(16), 1e-3
    row = first.row | {"energy": reference - errors * error, "energy_error": error}
    write_run_directory(path, [dataclasses.replace(first, row=row), *others])
    return first


def test_a_network_5_errors_below_its_reference_is_on_the_overview(app, tmp_path):
    network = written_with_one_energy_below(tmp_path / "study", 5.1)
    test = app(tmp_path / "study", "overview")
    assert not test.exception and not test.error
    assert "more than five standard errors below the reference energy" in texts(test.warning)
    assert "Networks below their reference" in texts(test.subheader)
    (listed,) = [frame.value for frame in test.dataframe if "reference_method" in frame.value.columns]
    assert listed[["run_id", "level"]].values.tolist() == [[network.run.run_id, network.level]]
    assert listed["reference_energy"].item() - listed["energy"].item() == pytest.approx(5.1e-3)


def test_a_network_less_than_5_errors_below_its_reference_is_not_on_the_overview(app, tmp_path):
    written_with_one_energy_below(tmp_path / "study", 4.9)
    test = app(tmp_path / "study", "overview")
    assert not test.exception and not test.error and not test.warning
    assert "Networks below their reference" not in texts(test.subheader)


def test_networks_without_a_reference_are_not_on_the_overview_as_below_it(app, tmp_path):
    written_with_one_energy_below(tmp_path / "study", 1000)
    for part in (tmp_path / "study" / "tables" / "references").iterdir():
        part.unlink()
    test = app(tmp_path / "study", "overview")
    assert not test.exception and not test.error
    assert "Networks below their reference" not in texts(test.subheader)


def test_a_side_without_reference_energy_is_named_and_its_magnetisation_is_shown(app, finished, tmp_path):
    study = read_study(finished)
    export_study(study, tmp_path / "part")
    lost = pl.col("side") == 4
    errors = ("reference_energy", "relative_error", "error_per_spin")
    study.states.with_columns(
        pl.when(lost).then(None).otherwise(pl.col(name)).alias(name) for name in errors
    ).write_parquet(tmp_path / "part" / "states.parquet")
    test = app(tmp_path / "part", "finite_size")
    assert "No reference energy for L = 4" in texts(test.warning)
    assert test.subheader[0].value == "Energy error per spin against weights per spin"
    assert "(L\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}4)" in texts(test.subheader)


def test_a_long_table_is_shown_a_page_at_a_time(app, finished, monkeypatch):
    monkeypatch.setattr(figures, "ROWS_A_PAGE", 10)
    test = app(finished, "overview", **{"rows-runs": "30"})
    assert not test.exception
    assert test.selectbox(key="rows-runs").options[-1].endswith("31–32 of 32")
    assert test.dataframe[-1].value["run_id"].to_list() == read_study(finished).runs["run_id"][30:].to_list()


def test_every_status_of_the_store_has_a_colour():
    statuses = ["waiting", "ready", "running", "done", "diverged", "failed", "blocked", "stale"]
    assert set(charts.STATUS_COLOURS) == set(statuses)
    assert len(set(charts.STATUS_COLOURS.values())) == len(statuses)


def test_a_run_tells_its_story_where_it_is_shown_and_an_export_says_that_it_has_none(app, finished, tmp_path):
    for page in ("training", "networks"):
        test = app(finished, page, story="on")
        assert not test.exception and not test.warning
        run_id = test.query_params["run"]
        told = test.code[-1].value
        assert told.startswith(f"{run_id}: ") and "asked for by made_up, profile tiny" in told
        assert f"tables/weights/{run_id}." in told
    export_study(read_study(finished), tmp_path / "export")
    test = app(tmp_path / "export", "training", story="on")
    assert not test.exception and "An export has no stories" in texts(test.info)


def test_a_first_visitor_reads_what_to_do_and_the_owner_of_a_study_does_not(app, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "data" / "example")
    test = app(None)
    assert not test.exception and "example that came with the program" in texts(test.info)
    assert test.code[0].value.splitlines()[1] == "streamlit run explorer/app.py"
    assert "example that came" not in texts(app(finished).info)
