"""Are two ticket variants equally good, different, or is it too early to say?

"No significant difference" is no evidence of equality: few trajectories find none anywhere. So equality has a test
of its own, two one-sided t tests (TOST; Schuirmann, J. Pharmacokinet. Biopharm. 15, 657 (1987)): with d the mean over
trajectories of ln error ratio, s its standard error and δ the logarithm of the margin, the variants are equivalent at
level α when both (d + δ)/s and (δ − d)/s exceed the quantile t(1 − α, G − 1), the same as the 1 − 2α interval lying
within ±δ.
"""

from __future__ import annotations

import math

import polars as pl
from scipy import special

from explorer.analysis.tickets import window_differences

EQUIVALENT, DIFFERENT, UNDECIDED, UNTESTED = "equivalent", "different", "undecided", "can't be tested"
EQUIVALENCE_VERDICTS = (EQUIVALENT, DIFFERENT, UNDECIDED, UNTESTED)
ALPHA = 0.05


def ticket_equivalence(
    states: pl.DataFrame, window: tuple[float, float], margin: float, alpha: float = ALPHA
) -> pl.DataFrame:
    """Effect size, equivalence test and verdict for each pair of ticket variants and side.

    The effect is the ratio of relative errors within a trajectory at equal level, averaged as a logarithm over the
    levels of the window and then over trajectories, which alone count as independent.

    Args:
        states: networks of one setting, from `with_quantities`.
        window: smallest and largest weights per spin that count, both included.
        margin: the factor, above 1, up to which two errors count as equally good.
        alpha: level of both tests.

    Returns:
        numerator, denominator (variants, the pairs of `TICKET_PAIRS`), side, ratio, low, high (the 1 − 2α
        interval, which decides the equivalence test), margin, p_equivalent (of the equivalence test), p_different
        (two-sided t test of ratio 1), smallest_margin (that passes at α), trajectories, levels (of the window that
        any trajectory has), networks, verdict (of `EQUIVALENCE_VERDICTS`), reason (why it can't be tested; else empty).

    Raises:
        ValueError: the margin is not above 1.
    """
    if not margin > 1:
        raise ValueError(f"the margin is {margin:g}; a factor above 1 is needed")
    pair = ("numerator", "denominator", "side")
    effects = (
        window_differences(states, window)
        .group_by(pair)
        .agg(
            effect=pl.col("mean").mean(),
            error=pl.col("mean").std() / pl.len().sqrt(),
            trajectories=pl.len().cast(pl.Int64),
            levels=pl.col("levels").max(),
            networks=pl.col("networks").sum(),
        )
        .sort("numerator", "side")
    )
    tests = [
        _tests(row["effect"], row["error"], row["trajectories"], math.log(margin), alpha)
        for row in effects.iter_rows(named=True)
    ]
    numbers = ("low", "high", "p_equivalent", "p_different", "smallest_margin")
    columns = pl.DataFrame(tests, dict.fromkeys(numbers, pl.Float64), orient="row")
    return effects.hstack(columns).select(
        *pair,
        ratio=pl.col("effect").exp(),
        low="low",
        high="high",
        margin=pl.lit(float(margin)),
        **{name: name for name in numbers[2:]},
        trajectories="trajectories",
        levels="levels",
        networks="networks",
        verdict=_verdict(alpha),
        reason=pl.when(pl.col("trajectories") < 2)
        .then(pl.lit("One trajectory has no spread to test against; two are the least."))
        .otherwise(pl.lit("")),
    )


def _tests(
    effect: float, error: float | None, trajectories: int, margin: float, alpha: float
) -> tuple[float | None, ...]:
    """low, high, p_equivalent, p_different, smallest_margin; None for one trajectory. Arguments are logarithms."""
    if trajectories < 2:
        return (None,) * 5
    # Two trajectories that agree to the last digit: the limit of a small spread.
    error = max(error, 1e-12)
    freedom = trajectories - 1
    half_width = special.stdtrit(freedom, 1 - alpha) * error
    # The upper tail at the smaller of the two distances from the margins.
    p_equivalent = special.stdtr(freedom, (abs(effect) - margin) / error)
    p_different = 2 * special.stdtr(freedom, -abs(effect) / error)
    ends = (effect - half_width, effect + half_width, abs(effect) + half_width)
    # Two trajectories can leave the ratio undetermined over more decades than a float holds.
    low, high, smallest = (math.exp(min(max(end, -700.0), 700.0)) for end in ends)
    return low, high, float(p_equivalent), float(p_different), smallest


def _verdict(alpha: float) -> pl.Expr:
    """Equivalent within the margin wins: a ratio of 1.02 that is significantly not 1 is still equally good."""
    return (
        pl.when(pl.col("trajectories") < 2)
        .then(pl.lit(UNTESTED))
        .when(pl.col("p_equivalent") <= alpha)
        .then(pl.lit(EQUIVALENT))
        .when(pl.col("p_different") <= alpha)
        .then(pl.lit(DIFFERENT))
        .otherwise(pl.lit(UNDECIDED))
    )
