"""The pages on transitions: phase diagrams, hysteresis, and where the transition is by side."""

from pathlib import Path

import polars as pl
import pytest

from tests.explorer.synthetic_study import made_up_networks, write_run_directory
from tests.explorer.test_views import drawn_charts, texts

DATA = Path(__file__).resolve().parents[2] / "data"


def test_fields_over_density_with_contours_and_transitions(app):
    test = app(DATA / "phase_diagram-laptop", "phase_diagram")
    assert not test.exception and not test.error and not test.warning
    assert drawn_charts(test) == 2
    table = test.dataframe[0].value
    assert table["field"].nunique() == 12 and table["side"].unique() == [3]
    found = test.dataframe[1].value
    assert len(found) == 12 and set(found["verdict"]) <= {"transition", "stuck optimisation", "undecided", "no jump"}
    assert test.query_params["vertical"] == ["field"] and test.query_params["contours"] == ["on"]
