"""The tables: explicit Arrow schemas, keys and a description of every column.

Energies are totals in units of J, magnetisations are per spin, `_error` is one standard error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pyarrow as pa

from nqs.config import DenseRun, Network, Run, TicketRun, TrajectoryRun
from nqs.identity import canonical_json

# Raised when a column is added or changes its meaning; readers accept older versions.
TABLES_VERSION = 6


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        unit: "" for texts, counts and numbers without dimension.
    """

    name: str
    type: pa.DataType
    description: str
    unit: str = ""

    @property
    def arrow(self) -> pa.Field:
        """The column in a file, which explains itself."""
        metadata = {"description": self.description} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.type, metadata=metadata)


@dataclass(frozen=True)
class Table:
    """One table: its columns, and the key by which readers drop duplicates.

    Attributes:
        nullable_key: columns of the key that may be null.
        later_key: columns of the key that files of older versions lack.
    """

    name: str
    row: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    nullable_key: tuple[str, ...] = ()
    later_key: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([column.arrow for column in self.columns])

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


_TEXT, _INT, _COUNT, _NUMBER = pa.string(), pa.int32(), pa.int64(), pa.float64()
_TIME = pa.timestamp("us", tz="UTC")
_RUN_ID = Column("run_id", _TEXT, "letter (d dense, t trajectory, k ticket) and hash of the run's identity")
_LEVEL = Column("level", _INT, "pruning level; 0 is the dense network")
_FIELD = Column(
    "field", _NUMBER, "transverse field h; pauli: the strength that the sweep gives as its field", "J"
)

RUN_FIELDS = (
    _RUN_ID,
    Column("sweep", _TEXT, "name of the sweep that asked for the run"),
    Column("kind", _TEXT, "dense, trajectory or ticket"),
    Column("parent_run_id", _TEXT, "trajectory: its dense run; ticket: its trajectory; dense: null"),
    Column(
        "method",
        _TEXT,
        "pruning method of the trajectory (a ticket's: of its parent): imp_wr, imp_ct, irp_wr or module:function",
    ),
    Column("variant", _TEXT, "tickets: init_imp, rand_imp, init_rand or regrown"),
    Column("level", _INT, "tickets: the level whose mask or density is trained; null otherwise"),
    Column("replicate", _INT, "dense: own weights and chains; trajectory: its dense run's; ticket: own"),
    Column("hamiltonian", _TEXT, "tfim, toric_code or pauli"),
    Column("hamiltonian_name", _TEXT, "pauli: the name that the sweep gave it; else as hamiltonian"),
    Column("hamiltonian_parameters", _TEXT, "canonical JSON; references join on it"),
    Column("side", _INT, "linear size L"),
    Column("sites", _INT, "number of spins N"),
    Column("boundary", _TEXT, "open or periodic"),
    _FIELD,
    Column("network", _TEXT, "ffnn, cnn, rescnn, odd_parity or flax, a module of your own"),
    Column("network_parameters", _TEXT, "canonical JSON of the network's other settings"),
    Column("width_per_spin", _NUMBER, "α: hidden units a site; null for convolutions"),
    Column("initial_parameters", _COUNT, "prunable weights of the dense network n0"),
    Column("levels", _INT, "trajectories: levels asked for; null otherwise"),
    Column("pruning_ratio", _NUMBER, "fraction removed a level"),
    Column("pretraining_steps", _INT, "steps of the dense run"),
    Column("steps_per_level", _INT, "steps of each pruning level"),
    Column("ticket_steps", _INT, "steps of the ticket; null otherwise"),
    Column("mask_hamiltonian_parameters", _TEXT, "tickets: of the Hamiltonian at which the mask was found"),
    Column("mask_field", _NUMBER, "tickets: field at which the mask was found", "J"),
    Column("turned_at", _INT, "regrown tickets: the level at which their branch turned back; null otherwise"),
    Column("samples", _INT, "Markov chains, one sample each a step"),
    Column("learning_rate", _NUMBER, "SR learning rate", "1/J"),
    Column("diagonal_shift", _NUMBER, "SR diagonal shift"),
)

RUNS = Table(
    "runs",
    "a finished run",
    ("run_id",),
    (
        *RUN_FIELDS,
        Column("outcome", _TEXT, "done or diverged"),
        Column("outcome_reason", _TEXT, "the sentence, where it diverged"),
        Column(
            "batch", _INT, "runs, itself included, that were planned to be trained together in one program"
        ),
        Column("numerics_version", _INT, "raised when results change; older runs are stale"),
        Column("code_version", _TEXT, "commit or package version that trained it"),
        Column("device", _TEXT, "jax platform and device kind"),
        Column(
            "device_memory_bytes",
            _COUNT,
            "memory that jax could use there; null where it does not say",
            "bytes",
        ),
        Column("host", _TEXT, "name of the machine; as device, where the run ended"),
        Column("wall_seconds", _NUMBER, "time spent training and measuring", "s"),
        Column("finished_at", _TIME, "end of the run"),
    ),
)

STATES = Table(
    "states",
    "a trained network: the dense one, a level of a trajectory, or a ticket",
    ("run_id", "level"),
    (
        _RUN_ID,
        _LEVEL,
        Column("remaining", _COUNT, "prunable weights that are left n_r"),
        Column("parameters", _COUNT, "all parameters, prunable or not"),
        Column("density", _NUMBER, "remaining / initial_parameters"),
        Column("parameters_per_spin", _NUMBER, "remaining / sites"),
        Column("estimator", _TEXT, "full_summation (errors are 0) or sampling"),
        Column("energy", _NUMBER, "⟨H⟩, total", "J"),
        Column("energy_error", _NUMBER, "one standard error", "J"),
        Column("variance", _NUMBER, "⟨H²⟩ − ⟨H⟩² of the total energy", "J²"),
        Column("magnetization_x", _NUMBER, "⟨Σ σx⟩ / N"),
        Column("magnetization_x_error", _NUMBER, "one standard error"),
        Column("magnetization_z", _NUMBER, "⟨Σ σz⟩ / N"),
        Column("magnetization_z_error", _NUMBER, "one standard error"),
        Column("abs_magnetization_z", _NUMBER, "⟨|Σ σz|⟩ / N"),
        Column("abs_magnetization_z_error", _NUMBER, "one standard error"),
        Column("magnetization_z_squared", _NUMBER, "⟨(Σ σz / N)²⟩"),
        Column("magnetization_z_squared_error", _NUMBER, "one standard error"),
        Column(
            "correlation_z",
            pa.list_(_NUMBER),
            "chain or square lattice: ⟨σz_i σz_i+r⟩ at r = 1, 2, … along an axis, averaged over all pairs and axes; "
            "to r = side − 1, around periodic lattices to side / 2; null for the toric code and other lattices",
        ),
        Column("correlation_z_error", pa.list_(_NUMBER), "one standard error of each"),
        Column("v_score", _NUMBER, "N · variance / E² (Wu et al. 2024); null where E = 0"),
        Column(
            "ground_state_weight",
            _NUMBER,
            "|⟨ground state|ψ⟩|², of the toric code summed over all four; N ≤ 18",
        ),
        Column("star", _NUMBER, "toric code: ⟨Π σx⟩ of a star, averaged over all"),
        Column("star_error", _NUMBER, "one standard error"),
        Column("plaquette", _NUMBER, "toric code: ⟨Π σz⟩ of a plaquette, averaged over all"),
        Column(
            "plaquette_error", _NUMBER, "one standard error, or the bound by 3 / chains where none is broken"
        ),
        Column(
            "wilson_loops",
            pa.list_(_NUMBER),
            "toric code: ⟨Π σz⟩ around k × k squares of plaquettes at k = 1 … side − 1, averaged over all; "
            "at k = 1 it is plaquette",
        ),
        Column(
            "wilson_loops_error",
            pa.list_(_NUMBER),
            "one standard error of each, or the bound by 3 / chains where none is broken",
        ),
        Column(
            "sector_weights",
            pa.list_(_NUMBER),
            "toric code: weights of the winding sectors ++ +− −+ −−, the signs of W₁ and W₂, of configurations "
            "without broken plaquettes; so there ⟨W₁⟩ = (++) + (+−) − (−+) − (−−), ⟨W₂⟩ = (++) − (+−) + (−+) − (−−)",
        ),
        Column("log_fidelity", _NUMBER, "ln F with the level before; null for dense runs and tickets"),
        Column("fidelity", _NUMBER, "F = |⟨ψ_k−1|ψ_k⟩|² of normalised states"),
        Column("fidelity_error", _NUMBER, "one standard error of F"),
        Column("energy_drift", _NUMBER, "slope of the training energy over the last fifth", "J/step"),
        Column("energy_drift_error", _NUMBER, "one standard error", "J/step"),
        Column("acceptance", _NUMBER, "accepted fraction of single-spin proposals"),
        Column("autocorrelation_time", _NUMBER, "integrated, of the local energy", "sweeps"),
        Column("r_hat", _NUMBER, "split R-hat of the local energy over the measurement sweeps"),
        Column("samples_measured", _COUNT, "samples behind the sampled estimates"),
        Column("steps", _INT, "training steps of this level"),
        Column("wall_seconds", _NUMBER, "time spent training and measuring this level", "s"),
        Column(
            "weights_left_out",
            pa.bool_(),
            "whether an export left this network's weights out of the table weights; null: they are there",
        ),
    ),
)

STEPS = Table(
    "steps",
    "a training step: the first 100 of a level, then every tenth, and the last; fewer where an export thinned them",
    ("run_id", "level", "step"),
    (
        _RUN_ID,
        _LEVEL,
        Column("step", _INT, "counted from 1; the energy is that before the step's update"),
        Column("energy", _NUMBER, "sampled ⟨H⟩, total", "J"),
        Column("energy_error", _NUMBER, "one standard error", "J"),
        Column("variance", _NUMBER, "sampled variance of the local energy", "J²"),
        Column("acceptance", _NUMBER, "accepted fraction of single-spin proposals"),
        Column("update_norm", _NUMBER, "Euclidean norm of the change of the weights"),
    ),
)

WEIGHTS = Table(
    "weights",
    "a layer of a trained network, live weights alone",
    ("run_id", "level", "layer"),
    (
        _RUN_ID,
        _LEVEL,
        Column("layer", _TEXT, "name of the layer"),
        Column("shape", pa.list_(_INT), "shape of the layer; hidden is (sites, hidden units)"),
        Column("indices", pa.list_(_INT), "ascending positions in the flattened (row-major) layer"),
        Column("values", pa.list_(_NUMBER), "the weights at these positions"),
    ),
)

REFERENCES = Table(
    "references",
    "a reference energy: an exact one, a bond dimension of a DMRG series, or what the series extrapolates to",
    ("hamiltonian", "hamiltonian_parameters", "parity", "method", "bond_dimension"),
    (
        Column("hamiltonian", _TEXT, "tfim, toric_code or pauli"),
        Column("hamiltonian_parameters", _TEXT, "canonical JSON, the key that runs join on"),
        Column("side", _INT, "linear size L"),
        Column("boundary", _TEXT, "open or periodic"),
        _FIELD,
        Column("parity", _TEXT, "even or odd under the flip of all spins; the ground state is even"),
        Column("energy", _NUMBER, "lowest energy of this parity, total", "J"),
        Column(
            "energy_error", _NUMBER, "bound on its error; null for one bond dimension: it is variational", "J"
        ),
        Column("method", _TEXT, "ed, dmrg or exact"),
        Column("bond_dimension", _INT, "DMRG at one bond dimension; null where it is extrapolated, or exact"),
        Column("truncation_error", _NUMBER, "discarded weight of one bond dimension, summed over the bonds"),
        Column("magnetization_x", _NUMBER, "⟨Σ σx⟩ / N; extrapolated rows have the largest bond dimension's"),
        Column("magnetization_z_squared", _NUMBER, "⟨(Σ σz / N)²⟩; as magnetization_x"),
        Column(
            "gap", _NUMBER, "even rows: lowest odd energy less this one, where it is known the same way", "J"
        ),
        Column("gap_error", _NUMBER, "bound on its error", "J"),
        Column("seconds", _NUMBER, "time that it took; extrapolated rows: of the whole series", "s"),
        Column("peak_memory_bytes", _COUNT, "most memory that the process had held by then", "bytes"),
        Column("provenance", _TEXT, "how it was made: program, versions"),
    ),
    nullable_key=("bond_dimension",),
    later_key=("parity",),
)

ATTEMPTS = Table(
    "attempts",
    "a failure",
    ("run_id", "level", "attempt"),
    (
        _RUN_ID,
        _LEVEL,
        Column("attempt", _INT, "counted from 1"),
        Column("error_class", _TEXT, "bug, out_of_memory, actor_lost, node_lost, hung or disk"),
        Column("message", _TEXT, "the first line of the error, then where it happened"),
        Column("device", _TEXT, "where it was tried"),
        Column("at", _TIME, "when"),
        Column("given_up", pa.bool_(), "whether this start did not try it again"),
    ),
)

# Made by the export from `weights` and never part of a run directory: not in TABLES.
MASKS = Table(
    "masks",
    "a layer of a trained network: which spins its hidden units see, beside what random masks have (docs/masks.md)",
    ("run_id", "level", "layer"),
    (
        _RUN_ID,
        _LEVEL,
        Column(
            "layer",
            _TEXT,
            "name of the layer; what follows live_weights is null unless it is hidden, (sites, hidden units)",
        ),
        Column("live_weights", _COUNT, "weights that are not 0"),
        Column("units", _INT, "hidden units, live or dead"),
        Column("live_units", _INT, "units with a live weight"),
        Column("dead_units", _INT, "units without"),
        Column("expected_dead_units", _NUMBER, "mean of random masks of as many live weights"),
        Column("dead_spins", _INT, "spins without a live weight"),
        Column("expected_dead_spins", _NUMBER, "mean of random masks of as many live weights"),
        Column("unit_degree_mean", _NUMBER, "spins a unit, dead units included"),
        Column("unit_degree_variance", _NUMBER, "over all units, dead ones included"),
        Column("expected_unit_degree_variance", _NUMBER, "mean of random masks of as many live weights"),
        Column("live_unit_degree_mean", _NUMBER, "spins a live unit"),
        Column("live_unit_degree_variance", _NUMBER, "over the live units alone"),
        Column(
            "expected_live_unit_degree_variance",
            _NUMBER,
            "mean of random masks of as many live weights on as many units, none dead; to 1 / live_units",
        ),
        Column("spin_degree_mean", _NUMBER, "units a spin"),
        Column("spin_degree_variance", _NUMBER, "over all spins"),
        Column("expected_spin_degree_variance", _NUMBER, "mean of random masks of as many live weights"),
        Column("units_with_pairs", _INT, "units of two spins or more, over which distances are averaged"),
        Column(
            "pair_distance",
            _NUMBER,
            "a unit's mean distance over its pairs of spins; null where the lattice is unknown",
            "lattice spacings",
        ),
        Column(
            "expected_pair_distance",
            _NUMBER,
            "of spins anywhere: the mean over all pairs of sites",
            "lattice spacings",
        ),
        Column(
            "pair_distance_spread",
            _NUMBER,
            "standard deviation of pair_distance for spins anywhere",
            "lattice spacings",
        ),
        Column(
            "weighted_pair_distance",
            _NUMBER,
            "mean distance of two live weights at different spins, of one unit or not",
            "lattice spacings",
        ),
        Column("range", _NUMBER, "a unit's largest distance, averaged", "lattice spacings"),
        Column(
            "expected_range",
            _NUMBER,
            "of spins anywhere, by enumeration; null where there are too many sets",
            "lattice spacings",
        ),
    ),
)

TABLES = {table.name: table for table in (RUNS, STATES, STEPS, WEIGHTS, MASKS, REFERENCES, ATTEMPTS)}


@lru_cache(maxsize=1024)
def _network_parameters(network: Network) -> str:
    return canonical_json({name: value for name, value in network.identity().items() if name != "kind"})


def run_fields(run: Run, sweep: str) -> dict:
    """What a run is, as the columns RUN_FIELDS; the outcome columns of `runs` come on top."""
    return next(fields_of_runs([run], sweep))


def fields_of_runs(runs: Collection[Run], sweep: str) -> Iterator[dict]:
    """`run_fields` of many runs, which mostly share their settings with others."""
    settings: dict[int, dict] = {}
    for run in runs:
        # By the object: to hash one takes as long as to look at all its fields.
        if (own := settings.get(id(run.dense))) is None:
            own = settings[id(run.dense)] = _setting_fields(run.dense)
        yield own | _own_fields(run, sweep)


def _setting_fields(dense: DenseRun) -> dict:
    hamiltonian, training = dense.hamiltonian, dense.training
    return {
        **hamiltonian.columns,
        "hamiltonian_name": getattr(hamiltonian, "name", hamiltonian.kind),
        "sites": hamiltonian.sites,
        "network": dense.network.kind,
        "network_parameters": _network_parameters(dense.network),
        "width_per_spin": dense.network.width_per_spin,
        "initial_parameters": dense.initial_parameters,
        "pretraining_steps": dense.steps,
        "samples": training.samples,
        "learning_rate": training.learning_rate,
        "diagonal_shift": training.diagonal_shift,
    }


def _own_fields(run: Run, sweep: str) -> dict:
    trajectory = run if isinstance(run, TrajectoryRun) else getattr(run, "parent", None)
    ticket = run if isinstance(run, TicketRun) else None
    found_at = ticket.parent.dense.hamiltonian if ticket else None
    return {
        "run_id": run.run_id,
        "sweep": sweep,
        "kind": run.kind,
        "parent_run_id": run.parent_run_id,
        "method": trajectory.method if trajectory else None,
        "variant": ticket.variant if ticket else None,
        "level": ticket.level if ticket else None,
        "replicate": run.replicate,
        "levels": run.levels if isinstance(run, TrajectoryRun) else None,
        "pruning_ratio": trajectory.pruning_ratio if trajectory else None,
        "steps_per_level": trajectory.steps_per_level if trajectory else None,
        "ticket_steps": ticket.steps if ticket else None,
        "mask_hamiltonian_parameters": found_at.parameters_json if found_at else None,
        "mask_field": found_at.field if found_at else None,
        "turned_at": ticket.turned_at if ticket else None,
    }
