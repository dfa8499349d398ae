"""docs/results.md: the means of its tables, on numbers whose means are known."""

import polars as pl
import pytest

from benchmarks.results import _mean


@pytest.mark.parametrize(
    ("values", "errors", "mean", "error"),
    [
        # They scatter by half of what they were measured to, and by ten times that.
        ([1.5, 2.0, 2.5], [1.0, 1.0, 1.0], 2.0, 3**-0.5),
        ([-10.0, 10.0], [1.0, 1.0], 0.0, 10.0),
        ([1.0, 2.0], [3.0, 4.0], 1.5, 2.5),
        # Exact sums: the standard error of the mean.
        ([1e-7, 2e-7, 6e-7], [0.0, 0.0, 0.0], 3e-7, (7 / 3) ** 0.5 * 1e-7),
        ([5e-6], [4e-6], 5e-6, 4e-6),
    ],
)
def test_the_error_of_a_mean_is_that_of_the_measurements_or_of_the_scatter_if_that_is_more(
    values, errors, mean, error
):
    states = pl.DataFrame({"relative_error": values, "relative_error_error": errors})
    found = states.select(found=_mean(pl.lit(True))).to_series()[0]
    assert found["mean"] == pytest.approx(mean) and found["networks"] == len(values)
    assert found["error"] == pytest.approx(error)
