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

from nqs import full_summation, toric_code
from nqs.ansatz import Ansatz, by_layer, common_degree, joined, on_device, starting_values
from nqs.config import (
    FULL_SUMMATION_SITES,
    DenseRun,
    Hamiltonian,
    Run,
    TicketRun,
    ToricCode,
    TrajectoryRun,
)
from nqs.correlations import correlations_of
from nqs.devices import memory_bytes, name_of
from nqs.engine import equilibrate, train, train_batch
from nqs.exact_diagonalization import ground_state_weight
from nqs.hamiltonians import FlipForm, conserves_magnetization, flip_form
from nqs.identity import seed_of
from nqs.moves import Moves, moves_of
from nqs.observables import (
    Magnetizations,
    measured_form,
    record,
    record_log_ratios,
    sampled_log_fidelity,
    sampled_magnetizations,
    sampled_products,
    transverse_magnetization,
)
from nqs.pruning import Candidates, random_mask, removed_count, scores_of, survivors
from nqs.sampling import random_spins
from nqs.statistics import Estimate, autocorrelation_time, drift, estimate, split_r_hat
from nqs.tasks import NetworkWeights, Outcome, Task
from nqs.training import RECORD_CAPACITY, Problem, StepRecords, TrainingState

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
        measuring = time.perf_counter() - started
        spent += measuring
        if not np.isfinite(measured["energy"]):
            sentence = f"the energy measured after level {progress.level} is {measured['energy']}"
            return setting.outcome(progress, spent, diverged=sentence)
        measured["wall_seconds"] = progress.wall_seconds + spent
        return setting.outcome(progress, spent, state=measured, measuring=measuring)


def _train_chunk(members: list[_Member]) -> None:
    """The next steps of all members, at most RECORD_CAPACITY."""
    arguments = [
        (
            member.setting.key_of(_TRAINING),
            member.setting.problem,
            member.setting.ansatz.layout,
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

    def __init__(self, task: Task, indices: np.ndarray, values: np.ndarray, degree: int | None):
        self.task = task
        self.indices, self.start_values = indices, values
        self.dense = dense = task.run.dense
        self.sites = dense.hamiltonian.sites
        self.samples = dense.training.samples
        self.form, self.moves = _compiled(dense.hamiltonian)
        self.correlations = correlations_of(dense.hamiltonian)
        is_toric = isinstance(dense.hamiltonian, ToricCode)
        self.products = toric_code.WilsonLoops(dense.hamiltonian.side) if is_toric else self.correlations
        self.problem = Problem(
            self.form,
            self.moves,
            jnp.float64(dense.training.learning_rate),
            jnp.float64(dense.training.diagonal_shift),
        )
        self.key = jax.random.fold_in(jax.random.key(seed_of(task.run.run_id)), task.level)
        self.steps = task.run.steps_at(task.level)
        self.ansatz = Ansatz(dense, indices, degree)

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
            spins = self._first_chains()
            sweeps, spins_before = FRESH_SWEEPS, np.zeros((0, 0), np.float32)
        else:
            spins, sweeps, spins_before = before.spins, REWIND_SWEEPS, before.spins
        spins = self._equilibrated(self.key_of(_EQUILIBRATION), spins, self.ansatz, self.start_values, sweeps)
        records = {name: np.zeros(0) for name in ("step", *StepRecords._fields)}
        return Progress(
            self.task.level, 0, self.start_values, np.asarray(spins), spins_before, records, np.zeros(0), 0.0
        )

    def _first_chains(self):
        if isinstance(self.dense.hamiltonian, ToricCode):
            # Nothing is broken here: random chains would have to bring pairs of broken plaquettes together,
            # which takes L² sweeps, while stars and loops reach all that is unbroken in a few.
            return np.ones((self.sites, self.samples), np.float32)
        balanced = conserves_magnetization(self.form, self.sites)
        return random_spins(self.key_of(_INITIAL_CHAINS), self.sites, self.samples, balanced)

    def training_state(self, progress: Progress) -> TrainingState:
        """What the training program goes on from."""
        weights = self.ansatz.weights(progress.weights, self.ansatz.layout)
        return TrainingState(weights, jnp.asarray(progress.spins), jnp.int32(0))

    def after_chunk(
        self, progress: Progress, state: TrainingState, records: StepRecords, count: int
    ) -> tuple[Progress, int]:
        """The progress after a call of the program for `count` steps, and the step that diverged or 0."""
        values = self.ansatz.values(state.weights)
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
        before = None
        if isinstance(self.task.run, TrajectoryRun):
            indices, values = joined(self.dense, self.task.previous)
            before = Ansatz(self.dense, indices), values
        last_spins, records = self._records(progress, before)
        energies = np.asarray(records.local_energies)
        if self.sites <= FULL_SUMMATION_SITES:
            measured = self._exact(progress.weights, before)
        else:
            measured = self._sampled(progress, before, last_spins, records)
        slope = drift(progress.recent)
        remaining = len(self.indices) - self.dense.other_parameters
        energy = measured["energy"]
        return (
            dict.fromkeys(_FIDELITY)
            | measured
            | {
                "remaining": remaining,
                "parameters": len(self.indices),
                "density": remaining / self.dense.initial_parameters,
                "parameters_per_spin": remaining / self.sites,
                "v_score": self.sites * measured["variance"] / energy**2 if energy else None,
                "energy_drift": slope.mean,
                "energy_drift_error": slope.error,
                "acceptance": float(np.asarray(records.acceptance).mean()),
                "autocorrelation_time": autocorrelation_time(energies),
                "r_hat": split_r_hat(energies),
                "samples_measured": energies.size,
                "steps": self.steps,
            }
        )

    def _records(self, progress: Progress, before):
        """The last spins and the records of the trained network, compared with the one before, if any."""
        ansatz = self.ansatz
        other, values = before or (ansatz, progress.weights)
        for_chains, for_records = jax.random.split(self.key_of(_MEASUREMENT))
        spins = self._measured_chains(for_chains, progress.spins, ansatz, progress.weights)
        form = on_device(measured_form(self.form, self.sites))
        return record(
            for_records,
            form,
            self.moves,
            spins,
            ansatz.weights(progress.weights, ansatz.rows),
            ansatz.rows,
            other.weights(values, other.rows),
            other.rows,
            self.task.measurement.sweeps,
            self.products,
        )

    def _measured_chains(self, key, spins, ansatz: Ansatz, values):
        return self._equilibrated(key, spins, ansatz, values, self.task.measurement.equilibration_sweeps)

    def _equilibrated(self, key, spins, ansatz: Ansatz, values, sweeps: int):
        weights = ansatz.weights(values, ansatz.rows)
        return equilibrate(key, self.moves, jnp.asarray(spins), weights, ansatz.rows, sweeps)

    def _exact(self, values, before) -> dict:
        psi = self._wave_function(self.ansatz, values)
        exact = full_summation.expectations(self.form, transverse_magnetization(self.sites), psi)
        row = {
            "estimator": "full_summation",
            "energy": exact.energy,
            "energy_error": 0.0,
            "variance": exact.variance,
            **_named(Magnetizations(*(Estimate(value, 0.0) for value in exact[2:]))),
        }
        if self.correlations:
            row |= _listed("correlation_z", full_summation.mean_products(psi, self.correlations))
        if before is not None:
            other = self._wave_function(*before)
            row |= _fidelity(Estimate(full_summation.log_fidelity(psi, other), 0.0))
        hamiltonian = self.dense.hamiltonian
        if not isinstance(hamiltonian, ToricCode):
            return row | {"ground_state_weight": ground_state_weight(hamiltonian, psi)}
        side, spins = hamiltonian.side, full_summation.all_spins(self.sites)
        plaquette = float(psi**2 @ toric_code.mean_plaquette(side, spins))
        # E = −n (star + plaquette).
        return row | {
            "ground_state_weight": toric_code.ground_state_weight(side, psi),
            "star": -exact.energy / side**2 - plaquette,
            "star_error": 0.0,
            "plaquette": plaquette,
            "plaquette_error": 0.0,
            "sector_weights": toric_code.sector_weights(side, spins, psi**2),
            **_listed("wilson_loops", full_summation.mean_products(psi, self.products)),
        }

    def _wave_function(self, ansatz: Ansatz, values) -> np.ndarray:
        """Normalised ψ over all configurations that the chains can reach, (2^sites,)."""
        psi = ansatz.wave_function(values)
        if conserves_magnetization(self.form, self.sites):
            psi[full_summation.all_spins(self.sites).sum(0) != 0] = 0
            psi /= np.linalg.norm(psi)
        return psi

    def _sampled(self, progress: Progress, before, last_spins, records) -> dict:
        energies = np.asarray(records.local_energies)
        energy = estimate(energies)
        conserved = conserves_magnetization(self.form, self.sites)
        row = {
            "estimator": "sampling",
            "energy": energy.mean,
            "energy_error": energy.error,
            "variance": float(energies.var()),
            **_named(sampled_magnetizations(records, self.sites, conserved)),
        }
        if self.correlations:
            row |= _listed("correlation_z", sampled_products(records, self.correlations.counts))
        if before is not None:
            row |= _fidelity(self._sampled_fidelity(progress, records, *before))
        hamiltonian = self.dense.hamiltonian
        if isinstance(hamiltonian, ToricCode):
            row |= toric_code.sampled_observables(
                hamiltonian.side,
                np.asarray(records.diagonal_energies),
                energies,
                np.asarray(last_spins),
                sampled_products(records, self.products.counts),
            )
        return row

    def _sampled_fidelity(self, progress: Progress, records, before: Ansatz, values) -> Estimate:
        # Without the chains that ended the level before, this level's are equilibrated to its network.
        spins = progress.spins_before if progress.spins_before.size else progress.spins
        for_chains, for_records = jax.random.split(self.key_of(_MEASUREMENT_BEFORE))
        spins = self._measured_chains(for_chains, spins, before, values)
        others = record_log_ratios(
            for_records,
            self.moves,
            spins,
            before.weights(values, before.rows),
            before.rows,
            self.ansatz.weights(progress.weights, self.ansatz.rows),
            self.ansatz.rows,
            self.task.measurement.sweeps,
        )
        return sampled_log_fidelity(np.asarray(records.log_ratios), np.asarray(others))

    def outcome(
        self,
        progress: Progress,
        spent: float,
        diverged: str | None = None,
        state: dict | None = None,
        measuring: float = 0.0,
    ) -> Outcome:
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
            device=name_of(device),
            device_memory_bytes=memory_bytes(),
            measuring_seconds=measuring,
            finished=finished,
            diverged=diverged,
            state=state,
            steps_rows=progress.records if finished else {},
            weights=by_layer(self.dense, self.indices, progress.weights) if finished else None,
        )


def _settings(tasks: Sequence[Task]) -> list[_Setting]:
    """The settings of a batch; lists of live weights are padded alike for all members."""
    networks = [_starting_network(task) for task in tasks]
    degree = common_degree(
        [(task.run.dense, indices) for task, (indices, _) in zip(tasks, networks, strict=True)]
    )
    return [_Setting(task, *network, degree) for task, network in zip(tasks, networks, strict=True)]


def _unstacked(tree) -> list:
    """The trees of the members, from one whose arrays have a leading member axis."""
    leaves, structure = jax.tree.flatten(tree)
    return [jax.tree.unflatten(structure, own) for own in zip(*map(np.asarray, leaves), strict=True)]


@lru_cache(maxsize=64)
def _compiled(hamiltonian: Hamiltonian) -> tuple[FlipForm, Moves]:
    """The Hamiltonian and the moves of its chains; a slot comes back to them every few seconds."""
    form = flip_form(hamiltonian)
    moves = (
        toric_code.moves(hamiltonian.side)
        if isinstance(hamiltonian, ToricCode)
        else moves_of(form, hamiltonian.sites)
    )
    return on_device(form), on_device(moves)


def _starting_network(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Positions (live,) int32 and values (live,) float64 of the weights that the level starts from."""
    run, dense = task.run, task.run.dense
    if isinstance(run, DenseRun):
        values = _initial_values(run, dense)
        return np.arange(len(values), dtype=np.int32), values
    if isinstance(run, TrajectoryRun):
        kept = _pruned(run, task)
        source = task.previous if run.method == "imp_ct" else task.rewind
        return kept, _values_at(kept, dense, source)
    indices, _ = joined(dense, task.masked)
    if run.variant == "init_rand":
        indices = _random_mask(run, task)
    if run.variant == "regrown":
        return indices, _regrown_values(run, task, indices)
    # A transferred mask brings the initial weights along that it was found with.
    source = run if run.variant == "rand_imp" else run.parent.dense
    return indices, _initial_values(source, dense)[indices]


def _pruned(run: TrajectoryRun, task: Task) -> np.ndarray:
    """Positions that a level keeps of the ones before, (live,) int32; what is never pruned stays."""
    indices, trained = joined(run.dense, task.previous)
    rewound = _values_at(indices, run.dense, task.rewind)
    # Drawn from the run and the level alone, so that a resumed level prunes alike.
    generator = np.random.default_rng([seed_of(run.run_id), task.level])
    kept, start = [], 0
    for size in run.dense.prunable_sizes:
        own = slice(*np.searchsorted(indices, (start, start + size)))
        positions = indices[own] - start
        removed = removed_count(len(positions), run.pruning_ratio)
        candidates = Candidates(positions, trained[own], rewound[own], removed, generator)
        kept.append(start + survivors(positions, scores_of(run.method, candidates), run.pruning_ratio))
        start += size
    return np.concatenate([*kept, indices[indices >= start]]).astype(np.int32)


def _values_at(positions: np.ndarray, dense: DenseRun, weights: NetworkWeights) -> np.ndarray:
    """Values (n,) of live weights at positions (n,) of the whole vector."""
    indices, values = joined(dense, weights)
    return values[np.searchsorted(indices, positions)]


def _regrown_values(run: TicketRun, task: Task, indices: np.ndarray) -> np.ndarray:
    """Values (live,) of a mask's weights: as trained where the sparser network had them, else as initialised.

    Not zero where it had none: a unit that lost all its weights would have θ = 0, so slope 0 in relu and no
    gradient, and would never come back. The branch could then use no unit but those alive where it turned, and
    the loop would be open for a reason of its own making. Initial weights are small (`initial_std`).
    """
    values = _initial_values(run.parent.dense, run.dense)[indices]
    kept, trained = joined(run.dense, task.previous)
    values[np.searchsorted(indices, kept)] = trained
    return values


def _random_mask(run: Run, task: Task) -> np.ndarray:
    """Positions of a random mask with the density of each layer of the ticket's mask, (live,) int32."""
    generator = np.random.default_rng(seed_of(run.run_id))
    layers, start = [], 0
    for weights in task.masked.values():
        size = int(np.prod(weights.shape))
        drawn = random_mask(generator, size, len(weights.indices))
        layers.append(start + drawn)
        start += size
    return np.concatenate(layers).astype(np.int32)


def _initial_values(source: Run, dense: DenseRun) -> np.ndarray:
    """Flattened initial weights (n,) of a run: w0 for a dense run, fresh ones for a ticket."""
    key = jax.random.fold_in(jax.random.key(seed_of(source.run_id)), source.first_level)
    return starting_values(jax.random.fold_in(key, _INITIAL_WEIGHTS), dense)


def _recorded(steps: np.ndarray, total: int) -> np.ndarray:
    """Which steps the table keeps: the first 100, then every tenth, and the last."""
    return (steps <= 100) | (steps % 10 == 0) | (steps == total)


_FIDELITY = ("log_fidelity", "fidelity", "fidelity_error")  # null where there is no level before


def _fidelity(log_fidelity: Estimate) -> dict:
    fidelity = float(np.exp(log_fidelity.mean))
    values = (log_fidelity.mean, fidelity, fidelity * log_fidelity.error)
    return dict(zip(_FIDELITY, values, strict=True))


def _named(magnetizations: Magnetizations) -> dict:
    names = ("magnetization_x", "magnetization_z", "abs_magnetization_z", "magnetization_z_squared")
    row = {}
    for name, value in zip(names, magnetizations, strict=True):
        row[name], row[f"{name}_error"] = value
    return row


def _listed(name: str, values: Sequence[Estimate]) -> dict:
    return {name: [value.mean for value in values], f"{name}_error": [value.error for value in values]}


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
