"""The pages of the paper's Fig. 2, 5, 6 and Table 2 on the examples, and on studies that lack what they need."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from explorer import analysis, charts
from orchestrator.store import read_study
from tests.explorer.test_transition_pages import assert_drawn
from tests.explorer.test_views import drawn_charts, texts

DATA = Path(__file__).resolve().parents[2] / "data"


def test_widths_have_regions_with_fits_and_boundaries(app):
    test = app(DATA / "width_scaling-laptop", "scaling_regions")
    assert not test.exception and not test.error and not test.warning
    assert drawn_charts(test) == 2
    table = test.dataframe[1].value
    assert table["curve"].tolist() == ["α = 1", "α = 2.5", "α = 5"]
    # Width 1 has both plateaus: its boundaries lie where the curve bends, near 2 and 10 weights a spin.
    assert table["lower boundary"][0].startswith(("1.9 ", "2.0 ")) and table["upper boundary"][0].startswith(
        "1"
    )
    assert {"by", "quantity", "x", "fits", "plateaus", "boundaries", "confidence"} <= set(test.query_params)


def test_an_address_reopens_fields_by_variance_with_layers_off(app):
    test = app(
        DATA / "fields-laptop", "scaling_regions", quantity="variance_per_spin", x="density", fits="off"
    )
    assert not test.exception and not test.error and not test.warning
    assert texts(test.subheader).startswith("Energy variance per spin falls with the power")
    assert len(test.dataframe[1].value) == 7
    assert test.query_params["fits"] == "off"


def test_replicates_are_printed_as_in_table_2_with_the_clustered_interval_beside(app):
    test = app(DATA / "robustness-laptop", "robustness", hamiltonian="tfim")
    assert_drawn_with_extra_tables(test, 1)
    printed = test.dataframe[1].value
    assert len(printed) == 6 and printed["replicates"].tolist() == [12] * 6
    assert all("(" in mean for mean in printed["mean"])
    assert all(text.startswith("[") for text in printed["99.9 % over trajectories"])
    # The toric code has one trajectory: no clustered interval, and a dash says so.
    test = app(DATA / "robustness-laptop", "robustness", hamiltonian="toric_code")
    assert_drawn_with_extra_tables(test, 1)
    assert set(test.dataframe[1].value["99.9 % over trajectories"]) == {"–"}


def test_methods_are_compared_within_their_dense_networks(app):
    test = app(DATA / "pruning_methods-laptop", "pruning_methods", network="ffnn", level="20")
    assert_drawn(test, 3)
    assert set(test.dataframe[0].value["method"]) == {"imp_wr", "imp_ct", "irp_wr"}
    assert test.dataframe[1].value["trajectories"].unique().tolist() == [2]
    assert test.dataframe[2].value["level"].unique().tolist() == [20]


def test_the_tickets_page_has_a_verdict_with_the_margin_of_the_address(app):
    test = app(DATA / "lottery_tickets-laptop", "lottery_tickets", network="ffnn", margin="3")
    assert not test.exception and not test.error
    verdicts = [element.value for element in test.markdown if element.value.startswith("- T(")]
    assert len(verdicts) == 2
    assert all(
        "within a factor of 3" in text or "not by less than a factor of 3" in text for text in verdicts
    )


@pytest.mark.parametrize(
    "page, sentence",
    [("pruning_methods", "prunes by one method"), ("robustness", "no ticket of this setting")],
)
def test_a_study_without_what_a_page_needs_gets_a_sentence(app, page, sentence):
    test = app(DATA / "width_scaling-laptop", page)
    assert not test.exception and not test.error and drawn_charts(test) == 0
    assert sentence in texts(test.info)


def assert_drawn_with_extra_tables(test, charts: int) -> None:
    assert not test.exception and not test.error and not test.warning
    assert drawn_charts(test) == charts
    assert len(test.dataframe) > charts


@pytest.mark.parametrize(
    "page, study, address",
    [
        ("scaling_regions", "width_scaling-laptop", {}),
        ("pruning_methods", "pruning_methods-laptop", {"network": "cnn"}),
        ("robustness", "robustness-laptop", {"hamiltonian": "tfim"}),
    ],
)
def test_the_code_below_a_figure_makes_its_table_again(app, page, study, address):
    test = app(DATA / study, page, **address)
    codes = [element.value for element in test.code]
    assert codes and not test.exception
    # The first figure's table is the first; threads add numbers in another order, so the last digits differ.
    shown = pl.from_pandas(test.dataframe[0].value)
    for code in codes:
        names = {"study": read_study(DATA / study), "analysis": analysis, "charts": charts, "pl": pl}
        exec(code, names)  # noqa: S102  the app's own lines
        names["chart"].to_dict()
        if code is codes[0]:
            assert_frame_equal(names["table"], shown, check_dtypes=False, rel_tol=1e-9)
