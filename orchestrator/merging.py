"""Results from elsewhere: what another run directory or an export has, taken into this one.

So a study that was run in parts on several machines becomes one, an export can be gone on with, and a run that several
sweeps ask for is trained once: its id is the hash of all that it is. A run's history is taken whole: what its later
levels are grew out of its earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from nqs.config import ReferenceJob
from nqs.identity import NUMERICS_VERSION
from orchestrator.compaction import FILE_BYTES, write_compacted
from orchestrator.plan import Plan
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.store import Study, counting_rows, read_study, without_weights
from orchestrator.table_files import files_of, read_table
from orchestrator.tables import ATTEMPTS, MASKS, REFERENCES, RUNS, STATES, STEPS, TABLES_VERSION, WEIGHTS
from orchestrator.units import Unit, given_of, starting_networks, units_of

_NETWORK = ["run_id", "level"]


def read_source(path: Path | str, plan: Plan, whole: bool = True) -> Study:
    """The study in a run directory or an export, as `merge` takes it in: all of it, or of another sweep or profile than
    the plan those of its runs that the plan asks for, too.

    Args:
        whole: whether the large tables are read at once.

    Raises:
        StudyError: there is none, it has none of the plan's runs, or it has a damaged file.
    """
    source = read_study(path)
    if not source.problems and _is_another(source, plan):
        source = _runs_in_common(source, plan)
    if whole:
        source.read_large_tables()
    if source.problems:
        raise StudyError(source.problems[0])
    return source


def _is_another(source: Study, plan: Plan) -> bool:
    return (source.sweep, source.profile) != (plan.sweep, plan.profile)


def _runs_in_common(source: Study, plan: Plan) -> Study:
    asked = pl.col("run_id").is_in([*plan.jobs])
    runs, states = source.runs.filter(asked), source.states.filter(asked)
    if states.is_empty() and runs.filter(outcome="diverged").is_empty():
        raise StudyError(
            f"{source.path} belongs to sweep {source.sweep!r} at profile {source.profile!r}, and has no result of a run "
            f"that {plan.sweep!r} at {plan.profile!r} asks for"
        )
    jobs = plan.jobs.values()
    trained = {job.hamiltonian if isinstance(job, ReferenceJob) else job.dense.hamiltonian for job in jobs}
    hamiltonians = pl.DataFrame(
        [(each.kind, each.parameters_json) for each in trained],
        schema=dict.fromkeys(("hamiltonian", "hamiltonian_parameters"), pl.String),
        orient="row",
    )
    return replace(
        source,
        runs=runs,
        states=states,
        attempts=source.attempts.filter(asked),
        references=source.references.join(
            hamiltonians, on=hamiltonians.columns, how="semi", maintain_order="left"
        ),
    )


@dataclass(frozen=True)
class StayingOut:
    """Runs of a source that are not taken in.

    Attributes:
        differing: those of which both have begun other histories.
        lacking: another sweep's that came without weights which missing runs would start from: an export has the
            weights that its own sweep goes on from.
        stale: another sweep's of older numerics.
        run_ids: all of them, and what starts from them.
    """

    differing: list[str]
    lacking: list[str]
    stale: list[str]
    run_ids: list[str]


def runs_that_stay_out(plan: Plan, own: Study, source: Study) -> StayingOut:
    """Which runs of a source `merge` does not take in.

    Args:
        own: the study that the source is merged into.
        source: from `read_source`.
    """
    differing = _differing_runs(own, source)
    if not _is_another(source, plan):
        return StayingOut(differing, [], [], _with_what_starts_from(differing, plan, source.runs))
    stale = sorted(source.runs.filter(pl.col("numerics_version") < NUMERICS_VERSION)["run_id"])
    here = _units(own.states)
    without = without_weights(source.states) - (here - without_weights(own.states))
    lacking: set[str] = set()
    while True:
        out = _with_what_starts_from([*differing, *stale, *lacking], plan, source.runs)
        coming = source.states.filter(~pl.col("run_id").is_in(out))
        there = here | _units(coming)
        missing = (
            unit for run_id, job in plan.jobs.items() for unit in units_of(run_id, job) if unit not in there
        )
        given = given_of(without & _units(coming), missing, plan.jobs)
        found = {network.run_id for networks in given.values() for network in networks}
        # What stays out is missing, too, and may start from more of them.
        if not found:
            return StayingOut(differing, sorted(lacking), stale, out)
        lacking |= found


def _units(states: pl.DataFrame) -> set[Unit]:
    return {Unit(*key) for key in states.select(_NETWORK).iter_rows()}


def merge(directory: RunDirectory, plan: Plan, source: Study) -> dict:
    """Take in what a study has and a run directory lacks; for who holds its lock.

    A run of which both have begun different histories stays as it is here, and so does what starts from it.

    A network whose weights were left out here gets them where it is the same one.

    Args:
        directory: prepared, with the plan written.
        source: from `read_source`.

    Returns:
        `source`, its path; `networks` and `runs`, how many were taken in; `kept`, `lacking` and `stale`, ids of runs
        that stayed out as in `StayingOut`; `weights_left_out`, how many of the networks came without weights;
        `weights_taken_in`, how many networks that were here without weights have them now.

    Raises:
        StudyError: the directory has a damaged file, or a file cannot be written.
    """
    own = read_study(directory.path, plan)
    own_runs = counting_rows(read_table(directory, RUNS, own.problems), own.states)
    if own.problems:
        raise StudyError(own.problems[0])
    out = runs_that_stay_out(plan, own, source)
    staying = pl.col("run_id").is_in(out.run_ids)
    states = source.states.filter(~staying)
    networks = _not_in(states, own.states, _NETWORK)
    completed = _completed(own.states, states)
    taken = pl.concat([networks, completed])
    weights = _of(source.all_weights, taken)
    left_out = _not_in(taken, weights, _NETWORK)
    ended = source.runs.filter(pl.col("outcome").is_not_null() & ~staying)
    # Not `own.runs`, where one that is to have more levels than when it ended has no outcome.
    runs = _not_in(ended, own_runs, ["run_id", "levels"])
    frames = {
        WEIGHTS: weights,
        STEPS: _of(source.steps, taken),
        MASKS: _of(source.masks, left_out),
        REFERENCES: _not_in(source.references, own.references, list(REFERENCES.key)),
        # What failed there and has no result is untried here.
        ATTEMPTS: _not_in(_of(source.attempts, networks), own.attempts, list(ATTEMPTS.key)),
        RUNS: runs,
        STATES: taken.with_columns(
            weights_left_out=pl.when(pl.struct(_NETWORK).is_in(_keys(left_out))).then(pl.lit(True))
        ),
    }
    # States last: they commit what the others have.
    for table, frame in frames.items():
        if table is STATES:
            _remove_uncommitted(directory, networks)
        rows = frame.select(table.names).sort(table.key, maintain_order=True)
        for part in rows.iter_slices(max(1, rows.height * FILE_BYTES // max(1, rows.estimated_size()))):
            write_compacted(directory, table, part, [_source(source)])
    return {
        "source": str(source.path),
        "networks": networks.height,
        "runs": runs.height,
        "kept": out.differing,
        "lacking": out.lacking,
        "stale": out.stale,
        "weights_left_out": left_out.height,
        "weights_taken_in": completed.height,
    }


def _keys(networks: pl.DataFrame) -> pl.Expr:
    return pl.lit(networks.select(pl.struct(_NETWORK)).to_series()).implode()


def _of(frame: pl.DataFrame, networks: pl.DataFrame) -> pl.DataFrame:
    return frame.join(networks, on=_NETWORK, how="semi", maintain_order="left")


def _not_in(frame: pl.DataFrame, other: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    return frame.join(other, on=key, how="anti", nulls_equal=True, maintain_order="left")


def _completed(own: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """The other study's rows of networks whose weights were left out of ours and not of it."""
    lacking = own.filter(pl.col("weights_left_out"))
    whole = other.filter(~pl.col("weights_left_out").fill_null(False))
    return whole.join(lacking, on=[*_NETWORK, "energy"], how="semi", nulls_equal=True, maintain_order="left")


def _differing_runs(own: Study, other: Study) -> list[str]:
    """Runs with a level of which the two studies have different energies, or which diverged in one of them alone."""
    both = own.states.join(other.states, on=_NETWORK, suffix="_there")
    found = {*both.filter(pl.col("energy").ne_missing(pl.col("energy_there")))["run_id"]}
    for one, another in ((own, other), (other, own)):
        diverged = one.runs.filter(outcome="diverged")["run_id"].implode()
        beyond = _not_in(another.states, one.states, _NETWORK)
        found |= {*beyond.filter(pl.col("run_id").is_in(diverged))["run_id"]}
    return sorted(found)


def _with_what_starts_from(differing: list[str], plan: Plan, runs: pl.DataFrame) -> list[str]:
    """Some runs and all that start from them."""
    found = set(differing)
    for run_id, job in plan.jobs.items():
        # Parents come first, and later levels start from no other runs than the first.
        given = starting_networks(units_of(run_id, job)[0], job)
        if not found.isdisjoint(network.run_id for network in given):
            found.add(run_id)
    # What a run that is not asked for starts from only its family says.
    families = runs.filter(pl.col("run_id").is_in(found))["dense_run_id"].drop_nulls().implode()
    unplanned = ~pl.col("run_id").is_in([*plan.jobs])
    return sorted(found | {*runs.filter(unplanned & pl.col("dense_run_id").is_in(families))["run_id"]})


def _remove_uncommitted(directory: RunDirectory, networks: pl.DataFrame) -> None:
    """Remove what a kill left of some networks before they were committed: it would be read after what is taken in."""
    keys = {*networks.select(_NETWORK).iter_rows()}
    names = {directory.part_name(*key) for key in keys}
    for table in (WEIGHTS, STEPS, RUNS):
        for path in files_of(directory, table):
            if path.name in names:
                directory.remove(path)
    for checkpoint in directory.all_checkpoints():
        if (checkpoint.run_id, checkpoint.level) in keys:
            directory.remove_checkpoint(checkpoint)


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
    from orchestrator.reports import counted, some_of

    taken = f"{counted(range(data['networks']), 'trained network')} and {counted(range(data['runs']), 'ended run')}"
    sentences = [f"took in {taken} from {data['source']}"]
    if data["weights_left_out"]:
        sentences.append(
            f"{counted(range(data['weights_left_out']), 'network')} came without weights, which the export left out"
        )
    if data["weights_taken_in"]:
        sentences.append(
            f"the weights of {counted(range(data['weights_taken_in']), 'network')} that lacked them here came, too"
        )
    if lacking := data["lacking"]:
        sentences.append(
            f"{counted(lacking, 'run')} stayed out, since missing runs would start from weights that an export left "
            f"out: {some_of(lacking)}"
        )
    if stale := data["stale"]:
        sentences.append(f"{counted(stale, 'run')} of older numerics stayed out: {some_of(stale)}")
    if data["kept"]:
        sentences.append(
            f"{counted(data['kept'], 'run')} had begun here with other results, and stayed as here with all that "
            f"starts from them: {some_of(data['kept'])}"
        )
    return sentences
