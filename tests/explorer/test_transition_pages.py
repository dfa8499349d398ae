"""The pages on transitions: phase diagrams, hysteresis, and where the transition is by side."""

from pathlib import Path

import pytest

from tests.explorer.test_views import drawn_charts, texts

DATA = Path(__file__).resolve().parents[2] / "data"


def assert_drawn(test, charts: int) -> None:
    assert not test.exception and not test.error and not test.warning
    assert drawn_charts(test) == charts
    labels = [button.label for button in test.get("download_button")]
    assert labels.count("CSV") == labels.count("Parquet") == labels.count("PNG") == charts


def test_fields_over_density_with_contours_and_transitions(app):
    test = app(DATA / "phase_diagram-laptop", "phase_diagram")
    assert_drawn(test, 2)
    table, found = test.dataframe[0].value, test.dataframe[1].value
    assert table["field"].nunique() == len(found) == 12
    assert "of 12 fields have a jump beyond chance" in texts(test.caption)
    # Every selection is in the address.
    chosen = {
        "vertical",
        "side",
        "quantity",
        "drawn",
        "contours",
        "dots",
        "transitions",
        "criterion",
        "order",
    }
    assert chosen <= set(test.query_params)


def test_an_address_reopens_sides_over_density(app):
    test = app(
        DATA / "finite_size-laptop",
        "phase_diagram",
        quantity="magnetization_x",
        drawn="interpolated",
        contours="off",
        criterion="jump",
    )
    assert_drawn(test, 2)
    assert texts(test.subheader).startswith("Transverse magnetisation over weights per spin and side")
    assert sorted(test.dataframe[0].value["side"].unique()) == [3, 4, 5]
    assert "contours" not in texts(test.caption) and "|Δm| / Δ ln nᵣ" in texts(test.caption)


def test_a_study_of_one_field_and_side_says_what_a_phase_diagram_needs(app):
    test = app(DATA / "pruning_methods-laptop", "phase_diagram")
    assert not test.exception and drawn_charts(test) == 0
    assert "sweeps/phase_diagram.py trains several fields" in texts(test.info)


def test_both_branches_are_drawn_and_compared(app):
    test = app(DATA / "hysteresis-laptop", "hysteresis", field="1")
    assert_drawn(test, 5)
    assert set(test.dataframe[0].value["series"]) == {"trajectory", "regrown"}
    differences = test.dataframe[2].value
    assert differences["cluster"].nunique() == 3 and differences["parameters_per_spin"].max() < 20
    assert any(line.value.startswith("**4 × 4: ") for line in test.markdown)


@pytest.mark.parametrize("page", ["hysteresis", "phase_diagram"])
def test_pages_of_an_untrained_study_say_so(app, untrained, page):
    test = app(untrained, page)
    assert not test.exception and not test.error
    assert "Nothing here yet" in texts(test.info)


def test_a_study_without_branches_says_which_sweep_has_them(app, finished):
    test = app(finished, "hysteresis")
    assert not test.exception and "sweeps/hysteresis.py has them" in texts(test.info)


def test_the_finite_size_page_says_where_the_transition_is_with_reasons(app):
    test = app(DATA / "finite_size-laptop", "finite_size")
    assert_drawn(test, 10)
    (places,) = [frame.value for frame in test.dataframe if "verdict" in frame.value.columns]
    assert places["side"].tolist() == [3, 4, 5]
    assert (places["low"] < places["parameters_per_spin"]).all()
    assert (places["parameters_per_spin"] < places["high"]).all()
    lines = [line.value for line in test.markdown]
    assert sum(line.startswith(("**3 × 3: ", "**4 × 4: ", "**5 × 5: ")) for line in lines) == 3


def test_few_levels_leave_the_finite_size_page_whole(app, finished):
    test = app(finished, "finite_size")
    assert not test.exception and "are needed to tell a peak" in texts(test.info)
