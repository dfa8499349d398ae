"""The pages of the paper's Fig. 2, 5, 6 and Table 2 on the examples, and on studies that lack what they need."""

from pathlib import Path

from tests.explorer.test_views import drawn_charts, texts

DATA = Path(__file__).resolve().parents[2] / "data"


def test_widths_have_regions_with_fits_and_boundaries(app):
    test = app(DATA / "width_scaling-laptop", "scaling_regions")
    assert not test.exception and not test.error and not test.warning
    assert drawn_charts(test) == 2
    table = test.dataframe[1].value
    assert table["width_per_spin"].tolist() == [1.0, 2.5, 5.0]
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
