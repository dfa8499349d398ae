"""Results from elsewhere: what another run directory or an export of the same sweep has, taken into this one.

So a study that was run in parts on several machines becomes one, and an export can be gone on with. A run's history
is taken whole: what its later levels are grew out of its earlier ones.
"""

from __future__ import annotations

import polars as pl

from orchestrator.compaction import write_compacted
from orchestrator.plan import Plan
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.store import Study, read_study
from orchestrator.tables import ATTEMPTS, MASKS, REFERENCES, RUNS, STATES, STEPS, TABLES_VERSION, WEIGHTS

_NETWORK = ["run_id", "level"]


def merge(directory: RunDirectory, plan: Plan, source: Study) -> dict:
    """Take in what a study has and a run directory lacks; for who holds its lock.

    A run of which both have begun different histories stays as it is here, and so does what starts from it.

    Args:
        directory: prepared, with the plan written.
        source: of the same sweep and profile.

    Returns:
        `source`, its path; `networks` and `runs`, how many were taken in; `kept`, ids of runs whose histories differ
        and which were not; `weights_left_out`, how many of the networks came without weights.

    Raises:
        StudyError: the source is of another sweep or profile or has a damaged file, or a file cannot be written.
    """
    if (source.sweep, source.profile) != (plan.sweep, plan.profile):
        raise StudyError(
            f"{source.path} belongs to sweep {source.sweep!r} at profile {source.profile!r}, not to "
            f"{plan.sweep!r} at {plan.profile!r}"
        )
    own = read_study(directory.path, plan)
    differing = _differing_runs(own.states, source.states)
    networks = _not_in(source.states, own.states, _NETWORK).filter(~_descends_from(differing))
    weights, steps = (_of(frame, networks) for frame in (source.all_weights, source.steps))
    left_out = _not_in(networks, weights, _NETWORK)
    masks = _of(source.masks, left_out)
    if problems := [*own.problems, *source.problems]:
        raise StudyError(problems[0])
    ended = source.runs.filter(pl.col("outcome").is_not_null() & ~_descends_from(differing))
    runs = _not_in(ended, own.runs.filter(pl.col("outcome").is_not_null()), ["run_id", "levels"])
    # States last: they commit what the others have.
    frames = {
        WEIGHTS: weights,
        STEPS: steps,
        MASKS: masks,
        REFERENCES: _not_in(source.references, own.references, list(REFERENCES.key)),
        ATTEMPTS: _not_in(source.attempts, own.attempts, list(ATTEMPTS.key)),
        RUNS: runs,
        STATES: networks.with_columns(
            weights_left_out=pl.when(pl.struct(_NETWORK).is_in(_keys(left_out))).then(pl.lit(True))
        ),
    }
    for table, frame in frames.items():
        if not frame.is_empty():
            rows = frame.select(table.names).sort(table.key, maintain_order=True)
            write_compacted(directory, table, rows, [_source(source)])
    return {
        "source": str(source.path),
        "networks": networks.height,
        "runs": runs.height,
        "kept": differing,
        "weights_left_out": left_out.height,
    }


def _keys(networks: pl.DataFrame) -> pl.Expr:
    return pl.lit(networks.select(pl.struct(_NETWORK)).to_series()).implode()


def _of(frame: pl.DataFrame, networks: pl.DataFrame) -> pl.DataFrame:
    return frame.join(networks, on=_NETWORK, how="semi", maintain_order="left")


def _not_in(frame: pl.DataFrame, other: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    return frame.join(other, on=key, how="anti", nulls_equal=True, maintain_order="left")


def _differing_runs(own: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    """Runs with a level of which the two studies have different energies."""
    both = own.join(other, on=_NETWORK, suffix="_there")
    return (
        both.filter(pl.col("energy").ne_missing(pl.col("energy_there")))["run_id"].unique().sort().to_list()
    )


def _descends_from(run_ids: list[str]) -> pl.Expr:
    ancestors = ("run_id", "trajectory_run_id", "dense_run_id")
    return pl.any_horizontal(pl.col(name).is_in(run_ids).fill_null(False) for name in ancestors)


def _source(study: Study) -> dict:
    """A record as compaction makes them, which later compactions add up."""
    ended = study.runs["finished_at"].drop_nulls()
    times = {"first": ended.min(), "last": ended.max()}
    versions = {
        name: ", ".join(map(str, study.runs[name].drop_nulls().unique().sort()))
        for name in ("numerics_version", "code_version")
    }
    return {
        "tables_version": str(TABLES_VERSION),
        **versions,
        "sweep": study.sweep,
        "files": 1,
        **{name: time.isoformat() if time else "" for name, time in times.items()},
    }


def merge_sentences(data: dict) -> list[str]:
    """What `merge` did, in words."""
    from orchestrator.reports import counted

    taken = f"{counted(range(data['networks']), 'trained network')} and {counted(range(data['runs']), 'ended run')}"
    sentences = [f"took in {taken} from {data['source']}"]
    if data["weights_left_out"]:
        sentences.append(
            f"{counted(range(data['weights_left_out']), 'network')} came without weights, which the export left out"
        )
    if data["kept"]:
        sentences.append(
            f"{counted(data['kept'], 'run')} had begun here with other results, and stayed as here with all that "
            f"starts from them: {', '.join(data['kept'][:5])}{' …' if len(data['kept']) > 5 else ''}"
        )
    return sentences
