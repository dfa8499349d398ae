"""Training histories: what a dense run, a level of a trajectory and a ticket start from, do and give."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqs import full_summation
from nqs.config import FULL_SUMMATION_SITES, DenseRun, Hamiltonian, Run, TrajectoryRun
from nqs.hamiltonians import FlipForm, flip_form
from nqs.identity import seed_of
from nqs.layouts import RowLayout, choose_layout, padded_degree, row_layout
from nqs.networks import initial_weights
from nqs.observables import (
    Magnetizations,
    measured_form,
    record,
    record_log_ratios,
    sampled_log_fidelity,
    sampled_magnetizations,
    transverse_magnetization,
)
from nqs.pruning import prune_by_magnitude, random_mask
from nqs.sampling import equilibrate, random_spins
from nqs.statistics import Estimate, autocorrelation_time, drift, estimate, split_r_hat
from nqs.tasks import LiveWeights, Outcome, Task
from nqs.training import RECORD_CAPACITY, Problem, StepRecords, TrainingState, train, train_batch

LAYER = "hidden"  # the one prunable layer of a feed-forward network

# Sweeps without update where the chains start out of equilibrium: after a rewind they stand where
# the level before left them; a ticket's stand anywhere.
REWIND_SWEEPS = 10
FRESH_SWEEPS = 30

# Every random number of a run is drawn from its seed, its level and one of these purposes.
_INITIAL_WEIGHTS, _INITIAL_CHAINS, _EQUILIBRATION, _TRAINING, _MEASUREMENT, _MEASUREMENT_BEFORE = range(6)


class Progress(NamedTuple):
    """Where a level stands: all that a checkpoint holds.

    Attributes:
        level, step: training steps made of this level.
        weights: (live,) float64.
        spins: (sites, chains) float32 ±1.
        spins_before: the chains that ended the level before, (0, 0) where there was none.
        records: columns of the table `steps` so far, thinned.
        recent: energies of the last fifth of the steps so far, for the drift.
        wall_seconds: spent on this level so far.
    """

    level: int
    step: int
    weights: np.ndarray
    spins: np.ndarray
    spins_before: np.ndarray
    records: dict[str, np.ndarray]
    recent: np.ndarray
    wall_seconds: float


def advance(task: Task, seconds: float) -> Outcome:
    """Carry one run on through its level: a batch of one, see `advance_batch`."""
    return advance_batch([task], seconds)[0]


def advance_batch(tasks: Sequence[Task], seconds: float) -> list[Outcome]:
    """Carry runs of one program shape on through their level for about so many seconds, or to its end.

    Several runs are trained by one program. A run alone has a program of its own, which rounds differently.
    Where a stretch ends depends on the clock; the numbers do not: each step draws from its own key.

    Returns:
        For each task how far it came, in order; `wall_seconds` is a member's share. Once trained, a network
        is measured and its outcome has the tables' rows; a training that diverged comes back as an outcome
        with its sentence, and the others go on without it.

    Raises:
        RuntimeError: jax is not set to float64.
    """
    if not jax.config.jax_enable_x64:
        # Energies, shifts and solves are float64; jax would silently make them float32.
        raise RuntimeError("jax is set to float32; training needs float64: set JAX_ENABLE_X64=1")
    started = time.perf_counter()
    members = [_Member(setting) for setting in _settings(tasks)]
    while training := [member for member in members if member.is_training]:
        _train_chunk(training)
        if time.perf_counter() - started >= seconds:
            break
    share = (time.perf_counter() - started) / len(members)
    return [member.outcome(share) for member in members]


class _Member:
    """One run of a batch and where it stands."""

    def __init__(self, setting: _Setting):
        self.setting = setting
        self.progress = setting.resumed()
        self.diverged_at = 0

    @property
    def is_training(self) -> bool:
        return self.progress.step < self.setting.steps and not self.diverged_at

    @property
    def chunk(self) -> int:
        """Steps of the next call of the program."""
        return min(RECORD_CAPACITY, self.setting.steps - self.progress.step)

    def outcome(self, spent: float) -> Outcome:
        """What the driver gets after a stretch that took so many seconds; measures a trained network."""
        setting, progress = self.setting, self.progress
        if self.diverged_at:
            return setting.outcome(progress, spent, diverged=_diverged_sentence(progress, self.diverged_at))
        if self.is_training:
            return setting.outcome(progress, spent)
        started = time.perf_counter()
        measured = setting.measure(progress)
        spent += time.perf_counter() - started
        if not np.isfinite(measured["energy"]):
            sentence = f"the energy measured after level {progress.level} is {measured['energy']}"
            return setting.outcome(progress, spent, diverged=sentence)
        measured["wall_seconds"] = progress.wall_seconds + spent
        return setting.outcome(progress, spent, state=measured)


def _train_chunk(members: list[_Member]) -> None:
    """The next steps of all members, at most RECORD_CAPACITY."""
    arguments = [
        (
            member.setting.key_of(_TRAINING),
            member.setting.problem,
            member.setting.layout,
            member.setting.training_state(member.progress),
            jnp.int32(member.progress.step + 1),
            jnp.int32(member.chunk),
        )
        for member in members
    ]
    if len(members) == 1:
        results = [train(*arguments[0])]
    else:
        results = _unstacked(train_batch(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *arguments)))
    for member, (state, records) in zip(members, results, strict=True):
        member.progress, member.diverged_at = member.setting.after_chunk(
            member.progress, state, records, member.chunk
        )


def _diverged_sentence(progress: Progress, step: int) -> str:
    at = np.flatnonzero(progress.records["step"] == step)
    energy = progress.records["energy"][at[0]] if len(at) else float("nan")
    what = "the update is not finite" if np.isfinite(energy) else f"the energy is {energy}"
    return f"{what} at step {step} of level {progress.level}"


class _Setting:
    """What stays fixed through a level: the physics, the mask, the layout and the keys."""

    def __init__(self, task: Task, indices: np.ndarray, values: np.ndarray, degree: int):
        self.task = task
        self.indices, self.start_values = indices, values
        dense = task.run.dense
        self.sites = dense.hamiltonian.sites
        self.samples = dense.training.samples
        self.shape = dense.network.layers(self.sites)[LAYER]
        self.form = _compiled_form(dense.hamiltonian)
        self.problem = Problem(
            self.form, jnp.float64(dense.training.learning_rate), jnp.float64(dense.training.diagonal_shift)
        )
        self.key = jax.random.fold_in(jax.random.key(seed_of(task.run.run_id)), task.level)
        self.steps = task.run.steps_at(task.level)
        compiled = jax.default_backend() == "cpu"
        self.layout = _on_device(choose_layout(self.shape, self.indices, self.samples, compiled, degree))
        # Chains outside of training go through full rows: one program for all levels.
        self.rows = _on_device(row_layout(self.shape, self.indices, compiled))

    def key_of(self, purpose: int):
        return jax.random.fold_in(self.key, purpose)

    def resumed(self) -> Progress:
        """Where the task's checkpoint stands, or the level's start."""
        last = _load(self.task.checkpoint) if self.task.checkpoint else None
        # A checkpoint of another level is the one that closed the level before.
        return last if last is not None and last.level == self.task.level else self.start(last)

    def start(self, before: Progress | None) -> Progress:
        """The level's beginning: its first weights, and chains brought into equilibrium with them.

        Args:
            before: how the level before ended; None: its chains are not there, and fresh ones start.
        """
        if before is None:
            spins = random_spins(self.key_of(_INITIAL_CHAINS), self.sites, self.samples)
            sweeps, spins_before = FRESH_SWEEPS, np.zeros((0, 0), np.float32)
        else:
            spins, sweeps, spins_before = before.spins, REWIND_SWEEPS, before.spins
        weights = jnp.asarray(self.full(self.start_values))
        spins = equilibrate(self.key_of(_EQUILIBRATION), jnp.asarray(spins), weights, self.rows, sweeps)
        records = {name: np.zeros(0) for name in ("step", *StepRecords._fields)}
        return Progress(
            self.task.level, 0, self.start_values, np.asarray(spins), spins_before, records, np.zeros(0), 0.0
        )

    def full(self, values: np.ndarray) -> np.ndarray:
        """(sites, hidden) with zeros where pruned, from the live values."""
        return _full(LiveWeights(self.shape, self.indices, values))

    def training_state(self, progress: Progress) -> TrainingState:
        """What the training program goes on from."""
        if isinstance(self.layout, RowLayout):
            weights = jnp.asarray(self.full(progress.weights))
        else:
            padding = len(self.layout.weight_sites) - len(self.indices)
            weights = jnp.asarray(np.pad(progress.weights, (0, padding)))
        return TrainingState(weights, jnp.asarray(progress.spins), jnp.int32(0))

    def after_chunk(
        self, progress: Progress, state: TrainingState, records: StepRecords, count: int
    ) -> tuple[Progress, int]:
        """The progress after a call of the program for `count` steps, and the step that diverged or 0."""
        values = np.asarray(state.weights)
        in_rows = isinstance(self.layout, RowLayout)
        values = values.ravel()[self.indices] if in_rows else values[: len(self.indices)]
        diverged_at, first = int(state.diverged_at), progress.step + 1
        done = diverged_at - progress.step if diverged_at else count
        columns = {name: np.asarray(column)[:done] for name, column in records._asdict().items()}
        columns["step"] = np.arange(first, first + done)
        return self._joined(progress, values, np.asarray(state.spins), columns), diverged_at

    def _joined(self, progress: Progress, values, spins, columns) -> Progress:
        steps = self.steps
        keep = _recorded(columns["step"], steps)
        step = int(columns["step"][-1])
        late = columns["energy"][columns["step"] > steps - max(1, steps // 5)]
        return progress._replace(
            step=step,
            weights=values,
            spins=spins,
            records={
                name: np.concatenate([rows, columns[name][keep]]) for name, rows in progress.records.items()
            },
            recent=np.concatenate([progress.recent, late]),
        )

    def measure(self, progress: Progress) -> dict:
        """The row of `states` (without run_id, level and wall_seconds) for the trained network."""
        task, live = self.task, len(self.indices)
        weights = self.full(progress.weights)
        before = _full(task.previous[LAYER]) if isinstance(task.run, TrajectoryRun) else None
        records = self._records(_MEASUREMENT, progress.spins, weights, weights if before is None else before)
        if self.sites <= FULL_SUMMATION_SITES:
            energy, variance, magnetizations, log_fidelity = self._exact(weights, before)
            estimator = "full_summation"
        else:
            energies = np.asarray(records.local_energies)
            energy, variance = estimate(energies), float(energies.var())
            magnetizations = sampled_magnetizations(records, self.sites)
            log_fidelity = self._sampled_fidelity(progress, records, weights, before)
            estimator = "sampling"
        fidelity = float(np.exp(log_fidelity.mean)) if log_fidelity else None
        energies = np.asarray(records.local_energies)
        slope = drift(progress.recent)
        return {
            "remaining": live,
            "parameters": live,
            "density": live / (self.shape[0] * self.shape[1]),
            "parameters_per_spin": live / self.sites,
            "estimator": estimator,
            "energy": energy.mean,
            "energy_error": energy.error,
            "variance": variance,
            **_named(magnetizations),
            "log_fidelity": log_fidelity.mean if log_fidelity else None,
            "fidelity": fidelity,
            "fidelity_error": fidelity * log_fidelity.error if log_fidelity else None,
            "energy_drift": slope.mean,
            "energy_drift_error": slope.error,
            "acceptance": float(np.asarray(records.acceptance).mean()),
            "autocorrelation_time": autocorrelation_time(energies),
            "r_hat": split_r_hat(energies),
            "samples_measured": energies.size,
            "steps": self.steps,
        }

    def _records(self, purpose: int, spins, weights: np.ndarray, other: np.ndarray):
        for_chains, for_records = jax.random.split(self.key_of(purpose))
        spins, weights = self._equilibrated(for_chains, spins, weights, self.rows)
        form = _on_device(measured_form(self.form, self.sites))
        sweeps = self.task.measurement.sweeps
        return record(for_records, form, spins, weights, self.rows, jnp.asarray(other), sweeps)[1]

    def _equilibrated(self, key, spins, weights: np.ndarray, layout: RowLayout):
        weights = jnp.asarray(weights)
        sweeps = self.task.measurement.equilibration_sweeps
        return equilibrate(key, jnp.asarray(spins), weights, layout, sweeps), weights

    def _exact(self, weights, before):
        psi = full_summation.wave_function(weights)
        exact = full_summation.expectations(self.form, transverse_magnetization(self.sites), psi)
        fidelity = None
        if before is not None:
            fidelity = Estimate(full_summation.log_fidelity(psi, full_summation.wave_function(before)), 0.0)
        magnetizations = Magnetizations(*(Estimate(value, 0.0) for value in exact[2:]))
        return Estimate(exact.energy, 0.0), exact.variance, magnetizations, fidelity

    def _sampled_fidelity(self, progress: Progress, records, weights, before) -> Estimate | None:
        if before is None:
            return None
        # Without the chains that ended the level before, this level's are equilibrated to its network.
        spins = progress.spins_before if progress.spins_before.size else progress.spins
        layout = _on_device(
            row_layout(self.shape, self.task.previous[LAYER].indices, self.rows.lists is not None)
        )
        for_chains, for_records = jax.random.split(self.key_of(_MEASUREMENT_BEFORE))
        spins, before = self._equilibrated(for_chains, spins, before, layout)
        sweeps = self.task.measurement.sweeps
        others = record_log_ratios(for_records, spins, before, layout, jnp.asarray(weights), sweeps)
        return sampled_log_fidelity(np.asarray(records.log_ratios), np.asarray(others))

    def outcome(self, progress: Progress, spent: float, diverged: str | None = None, state=None) -> Outcome:
        progress = progress._replace(wall_seconds=progress.wall_seconds + spent)
        finished = state is not None
        energies = progress.records["energy"][-1:]
        device = jax.devices()[0]
        return Outcome(
            run_id=self.task.run.run_id,
            level=self.task.level,
            step=progress.step,
            steps=self.steps,
            energy=float(energies[-1]) if len(energies) else float("nan"),
            energy_error=float(progress.records["energy_error"][-1]) if len(energies) else float("nan"),
            wall_seconds=spent,
            checkpoint=_save(progress),
            device=f"{device.platform}:{device.device_kind}",
            finished=finished,
            diverged=diverged,
            state=state,
            steps_rows=progress.records if finished else {},
            weights={LAYER: LiveWeights(self.shape, self.indices, progress.weights)} if finished else None,
        )


def _settings(tasks: Sequence[Task]) -> list[_Setting]:
    """The settings of a batch; lists of live weights are padded alike for all members."""
    shapes = [task.run.dense.network.layers(task.run.dense.hamiltonian.sites)[LAYER] for task in tasks]
    networks = [_starting_network(task, shape) for task, shape in zip(tasks, shapes, strict=True)]
    degree = max(padded_degree(shape, indices) for shape, (indices, _) in zip(shapes, networks, strict=True))
    return [_Setting(task, *network, degree) for task, network in zip(tasks, networks, strict=True)]


def _unstacked(tree) -> list:
    """The trees of the members, from one whose arrays have a leading member axis."""
    leaves, structure = jax.tree.flatten(tree)
    return [jax.tree.unflatten(structure, own) for own in zip(*map(np.asarray, leaves), strict=True)]


@lru_cache(maxsize=64)
def _compiled_form(hamiltonian: Hamiltonian) -> FlipForm:
    # NetKet takes a tenth of a second for it, and a slot comes back to it every few seconds.
    return _on_device(flip_form(hamiltonian))


def _on_device(arrays):
    return jax.tree.map(jnp.asarray, arrays)


def _starting_network(task: Task, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Positions (live,) int32 and values (live,) float64 of the weights that the level starts from."""
    run, size = task.run, shape[0] * shape[1]
    if isinstance(run, DenseRun):
        return np.arange(size, dtype=np.int32), _initial_values(run, run.dense)
    if isinstance(run, TrajectoryRun):
        previous, rewind = task.previous[LAYER], task.rewind[LAYER]
        kept = prune_by_magnitude(previous.indices, previous.values, run.pruning_ratio)
        return kept, np.asarray(rewind.values)[np.searchsorted(rewind.indices, kept)]
    indices = task.masked[LAYER].indices
    if run.variant == "init_rand":
        generator = np.random.default_rng(seed_of(run.run_id))
        indices = random_mask(generator, size, len(indices)).astype(np.int32)
    source = run if run.variant == "rand_imp" else run.dense
    return indices, _initial_values(source, run.dense)[indices]


def _initial_values(source: Run, dense: DenseRun) -> np.ndarray:
    """Flattened random initial weights (n0,) of a run: w0 for a dense run, fresh ones for a ticket."""
    key = jax.random.fold_in(jax.random.key(seed_of(source.run_id)), source.first_level)
    key = jax.random.fold_in(key, _INITIAL_WEIGHTS)
    weights = initial_weights(key, dense.network, dense.hamiltonian.sites)[LAYER]
    return np.asarray(weights, float).ravel()


def _full(live: LiveWeights) -> np.ndarray:
    full = np.zeros(live.shape[0] * live.shape[1])
    full[live.indices] = live.values
    return full.reshape(live.shape)


def _recorded(steps: np.ndarray, total: int) -> np.ndarray:
    """Which steps the table keeps: the first 100, then every tenth, and the last."""
    return (steps <= 100) | (steps % 10 == 0) | (steps == total)


def _named(magnetizations: Magnetizations) -> dict:
    names = ("magnetization_x", "magnetization_z", "abs_magnetization_z", "magnetization_z_squared")
    row = {}
    for name, value in zip(names, magnetizations, strict=True):
        row[name], row[f"{name}_error"] = value
    return row


def _save(progress: Progress) -> bytes:
    fields = progress._asdict()
    records = fields.pop("records")
    for name in ("spins", "spins_before"):
        # One bit a spin: at 10 × 10 and 1024 chains 13 kB instead of 400.
        fields[f"{name}_shape"] = fields[name].shape
        fields[name] = np.packbits(fields[name] > 0)
    buffer = io.BytesIO()
    np.savez(buffer, **fields, **{f"records_{name}": column for name, column in records.items()})
    return buffer.getvalue()


def _load(checkpoint: bytes) -> Progress:
    with np.load(io.BytesIO(checkpoint), allow_pickle=False) as stored:
        fields = dict(stored)
    for name in ("spins", "spins_before"):
        shape = tuple(fields.pop(f"{name}_shape"))
        bits = np.unpackbits(fields[name], count=int(np.prod(shape)))
        fields[name] = (2.0 * bits - 1).astype(np.float32).reshape(shape)
    records = {name: fields.pop(f"records_{name}") for name in ("step", *StepRecords._fields)}
    fields |= {"level": int(fields["level"]), "step": int(fields["step"])}
    return Progress(records=records, **fields | {"wall_seconds": float(fields["wall_seconds"])})
