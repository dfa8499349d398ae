"""How far a study is: runs by status, remaining work, and what went wrong."""

from __future__ import annotations

import polars as pl

from explorer.analysis.quantities import TRAJECTORY
from nqs.identity import NUMERICS_VERSION

# Statuses of runs that more training will finish.
UNFINISHED = ("waiting", "ready", "running")


def status_counts(runs: pl.DataFrame) -> pl.DataFrame:
    """How many runs of each kind have each status: kind, status, runs."""
    return runs.group_by("kind", "status").agg(runs=pl.len().cast(pl.Int64)).sort("kind", "status")


def remaining_work(runs: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """Training that is still to be done, by kind and side, at the step times measured so far.

    A blocked or failed run counts as not remaining: nothing trains it as things stand. Step times are
    means over what is committed of the same kind and side. A trajectory's later levels are cheaper than
    its first ones, so the seconds are an upper estimate while it runs.

    Returns:
        kind, side, runs (unfinished), steps (remaining), seconds_per_step and seconds (of one slot; null
        where nothing of this kind and side is measured yet).
    """
    planned = (
        pl.when(pl.col("kind") == "dense")
        .then("pretraining_steps")
        .when(pl.col("kind") == TRAJECTORY)
        .then(pl.col("levels") * pl.col("steps_per_level"))
        .otherwise("ticket_steps")
    )
    committed = states.group_by("run_id").agg(trained=pl.col("steps").sum())
    measured = states.group_by("kind", "side").agg(
        seconds_per_step=pl.col("wall_seconds").sum() / pl.col("steps").sum()
    )
    return (
        runs.filter(pl.col("status").is_in(UNFINISHED))
        .join(committed, on="run_id", how="left")
        .with_columns(left=(planned - pl.col("trained").fill_null(0)).clip(lower_bound=0))
        .group_by("kind", "side")
        .agg(runs=pl.len().cast(pl.Int64), steps=pl.col("left").sum().cast(pl.Int64))
        .join(measured, on=["kind", "side"], how="left")
        .with_columns(seconds=pl.col("steps") * pl.col("seconds_per_step"))
        .sort("kind", "side")
    )


# Causes before what they bring about.
_TROUBLES = ("failed", "diverged", "blocked")


def troubled_runs(runs: pl.DataFrame) -> pl.DataFrame:
    """Runs that diverged, failed or are blocked, with the sentence that says why.

    Returns:
        status, kind, side, variant, level, replicate, reason (null where none is recorded), run_id.
    """
    return (
        runs.filter(~pl.col("status").is_in((*UNFINISHED, "done", "stale")))
        .select("status", "kind", "side", "variant", "level", "replicate", "reason", "run_id")
        .sort(pl.col("status").replace_strict(_TROUBLES, range(3), default=3), "kind", "side", "run_id")
    )


def stale_runs(runs: pl.DataFrame) -> pl.DataFrame:
    """Done runs that an older numerics version trained; of an export, too, whose statuses are those of its day.

    Returns:
        kind, side, variant, level, replicate, numerics_version, code_version, finished_at, run_id.
    """
    return (
        runs.filter(pl.col("outcome") == "done", pl.col("numerics_version") < NUMERICS_VERSION)
        .select(
            *("kind", "side", "variant", "level", "replicate"),
            *("numerics_version", "code_version", "finished_at", "run_id"),
        )
        .sort("numerics_version", "kind", "side", "run_id")
    )
