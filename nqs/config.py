"""What is wanted: Hamiltonians, networks, training and the three kinds of run, as frozen data.

Nothing here imports jax or netket: a sweep file and the driver read these configs in milliseconds,
and every count or cost is arithmetic on them.
"""

from __future__ import annotations

import hashlib
import math
import re
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from nqs.identity import canonical_json, run_id_of
from nqs.pruning import remaining_by_level

# The largest lattices that a dense 2^N sum can reach, and an exact diagonalisation in the whole space and in a
# sector of the Ising model.
FULL_SUMMATION_SITES = 18
WHOLE_SPACE_SITES = 20
EXACT_DIAGONALIZATION_SITES = 25
# What a user brings: "module:function".
_FUNCTION_NAME = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
# The bond dimensions of a DMRG series, each from the state of the one before; steps of about √2 near the
# end make the extrapolation a short one.
BOND_DIMENSIONS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


class Config(BaseModel):
    """A frozen record that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Fields that came after identity version 1: they enter an id only when they differ from the
    # default they were introduced with, so that no old run changes its name.
    later_fields: ClassVar[frozenset[str]] = frozenset()
    # Fields that do not decide a result.
    not_identity: ClassVar[frozenset[str]] = frozenset()
    # Fields of a Hamiltonian that only scale its terms: data of a program, so that runs of other
    # strengths can be trained together.
    strengths: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict:
        """What decides the result, as plain data for the canonical JSON of a run id."""
        chosen = {}
        for name, is_later, default in _identity_fields(type(self)):
            value = getattr(self, name)
            if not (is_later and value == default):
                chosen[name] = value.identity() if isinstance(value, Config) else value
        return chosen

    def model_copy(self, *, update=None, deep=False):
        """A copy; what was computed of the original, such as its run id, is not the copy's."""
        copied = super().model_copy(update=update, deep=deep)
        for computed in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[computed]
        return copied


@cache
def _identity_fields(config: type[Config]) -> tuple[tuple[str, bool, object], ...]:
    """Fields that may decide a result, whether they came later, and their defaults; a plan asks 10⁴ times."""
    return tuple(
        (name, name in config.later_fields, field.default)
        for name, field in config.model_fields.items()
        if name not in config.not_identity
    )


class HamiltonianConfig(Config):
    """What all Hamiltonians have: kind, side, sites, boundary, field (None where there is none), label."""

    @cached_property
    def parameters_json(self) -> str:
        """Canonical JSON of everything that fixes H: the key that reference energies join on."""
        return canonical_json({k: v for k, v in self.identity().items() if k != "kind"})

    @property
    def columns(self) -> dict[str, str | int | float | None]:
        """How the tables of runs and of reference energies say which Hamiltonian a row is of."""
        return {
            "hamiltonian": self.kind,
            "hamiltonian_parameters": self.parameters_json,
            "side": self.side,
            "boundary": self.boundary,
            "field": self.field,
        }


class TransverseFieldIsing(HamiltonianConfig):
    """H = −J Σ_⟨ij⟩ σz_i σz_j − h Σ_i σx_i on the square lattice (paper, Eq. 5)."""

    strengths: ClassVar[frozenset[str]] = frozenset({"field", "coupling"})

    kind: Literal["tfim"] = "tfim"
    side: int = Field(ge=2, le=32, description="linear size L of the L × L lattice")
    field: float = Field(gt=0, description="transverse field h in units of J; at 0 nothing flips")
    coupling: float = Field(default=1.0, gt=0, description="J, the unit of energy")
    boundary: Literal["open", "periodic"] = "open"

    @property
    def sites(self) -> int:
        return self.side**2

    @property
    def label(self) -> str:
        return f"{self.side}×{self.side} TFIM h={self.field:g}"


class ToricCode(HamiltonianConfig):
    """H = −Σ_v Π_{i∈v} σx_i − Σ_p Π_{i∈p} σz_i on the edges of a periodic square lattice (paper, Eq. 6)."""

    kind: Literal["toric_code"] = "toric_code"
    side: int = Field(ge=2, le=16, description="linear size L; N = 2 L² spins on the edges")

    boundary: ClassVar[str] = "periodic"
    field: ClassVar[None] = None

    @property
    def sites(self) -> int:
        return 2 * self.side**2

    @property
    def label(self) -> str:
        return f"{self.side}×{self.side} toric code"


class PauliTerms(HamiltonianConfig):
    """H = Σ_k c_k P_k of Pauli strings, as `nqs.operators.pauli_terms` reads NetKet's operators.

    Real, and with c(s) ≤ 0 for every flip; see `nqs.hamiltonians.form_of_strings`. The terms are the identity, in
    one form whatever their spelling: letters by ascending site, equal strings summed, zeros dropped, strings in
    the order of their (site, letter) pairs. Name, side and field are for tables and charts.
    """

    not_identity: ClassVar[frozenset[str]] = frozenset({"name", "side", "field"})

    kind: Literal["pauli"] = "pauli"
    name: str = Field(min_length=1, description="what the tables call it")
    sites: int = Field(ge=2, le=1024, description="number of spins N")
    side: int = Field(ge=1, description="linear size L")
    field: float | None = Field(default=None, description="the strength that phase diagrams have on an axis")
    boundary: Literal["open", "periodic"] = "open"
    terms: tuple[tuple[float, str], ...] = Field(
        min_length=1, description='coefficient and string, such as (-1.0, "Z0 Z1")'
    )

    @field_validator("terms")
    @classmethod
    def _are_pauli_strings(cls, terms):
        coefficients: dict[tuple[tuple[int, str], ...], list[float]] = {}
        for coefficient, string in terms:
            if not all(re.fullmatch(r"[XYZ][0-9]+", letter) for letter in string.split()):
                raise ValueError(f"term {string!r}; allowed: letters X, Y, Z with a site, as in 'X0 Z3'")
            letters = tuple(sorted((int(letter[1:]), letter[0]) for letter in string.split()))
            if len({site for site, _ in letters}) < len(letters):
                raise ValueError(f"term {string!r} has a site twice")
            coefficients.setdefault(letters, []).append(coefficient)
        # The same whatever the order of the sum, as the terms are an identity.
        sums = ((math.fsum(own), letters) for letters, own in sorted(coefficients.items()))
        return tuple((c, " ".join(f"{letter}{i}" for i, letter in letters)) for c, letters in sums if c)

    @model_validator(mode="after")
    def _fits_the_engine(self):
        _check_terms(self.terms, self.sites)
        return self

    @cached_property
    def parameters_json(self) -> str:
        """Canonical JSON of the name and a digest of the terms."""
        digest = hashlib.sha256(canonical_json(self.identity()).encode()).hexdigest()[:16]
        return canonical_json({"name": self.name, "sites": self.sites, "terms": digest})

    @property
    def label(self) -> str:
        return f"{self.name}, {self.sites} spins" + (f", {self.field:g}" if self.field is not None else "")


@lru_cache(maxsize=256)
def _check_terms(terms: tuple[tuple[float, str], ...], sites: int) -> None:
    """Raise ValueError where Pauli terms have sites that are not there or do not fit the engine."""
    for _, string in terms:
        for letter in string.split():
            if int(letter[1:]) >= sites:
                raise ValueError(f"term {string!r} has site {letter[1:]}; the sites are 0 to {sites - 1}")
    # Here, since that module takes the configs from this one.
    from nqs.hamiltonians import conserves_magnetization, form_of_terms, unpadded_sets
    from nqs.moves import unconnected_sites

    form = form_of_terms(terms, sites)
    if not len(form.flip_sites):
        raise ValueError(
            "no term flips a spin: the ground state is a configuration, and no network is needed"
        )
    if not conserves_magnetization(form, sites):
        return
    if sites % 2:
        raise ValueError(
            f"the terms conserve Σσz, and {sites} spins cannot have Σσz = 0, where chains start; take an even number"
        )
    if unconnected := unconnected_sites(unpadded_sets(form.flip_sites, sites), sites):
        raise ValueError(
            "the terms conserve Σσz, and no series of their exchanges connects the sites {} and {}: Σσz of each "
            "part stays what a chain starts with; connect them, or take the parts by themselves".format(
                *unconnected
            )
        )


class FeedForward(Config):
    """log ψ(s) = Σ_j relu(Σ_i W_ij s_i), no bias, α N hidden units."""

    # Whether a level compares weights of all layers, or prunes each layer by itself.
    global_pruning: ClassVar[bool] = False

    kind: Literal["ffnn"] = "ffnn"
    width_per_spin: float = Field(default=8.0, gt=0, description="α, hidden units a site")
    initial_std: float = Field(default=0.01, gt=0, description="spread of the normal initial weights")

    def hidden(self, sites: int) -> int:
        return round(self.width_per_spin * sites)

    def layers(self, sites: int) -> dict[str, tuple[int, int]]:
        """Shape of each prunable layer: {"hidden": (sites, hidden units)}."""
        return {"hidden": (sites, self.hidden(sites))}

    def other_layers(self, sites: int) -> dict[str, tuple[int, ...]]:
        """Shape of each layer that is trained and never pruned: none."""
        return {}

    def check_fits(self, sites: int) -> None:
        """Raise ValueError where α N is not a whole number of hidden units."""
        hidden = self.width_per_spin * sites
        if abs(hidden - round(hidden)) > 1e-9 or round(hidden) < 1:
            raise ValueError(
                f"width_per_spin {self.width_per_spin:g} gives {hidden:g} hidden units on {sites} "
                "sites; it must be a whole number, at least 1"
            )


class OddParity(Config):
    """The exact solution of the toric code: filters of odd parity on every plaquette (paper, Table 1, Fig. 7).

    Built, not trained: its dense run has 0 steps.
    """

    global_pruning: ClassVar[bool] = False

    kind: Literal["odd_parity"] = "odd_parity"
    magnitude: float = Field(gt=0, description="a, the magnitude of all weights")
    filters: Literal[4, 8] = Field(default=8, description="filters a plaquette")

    @property
    def width_per_spin(self) -> float:
        return self.filters / 2

    def hidden(self, sites: int) -> int:
        """Filters in all: N/2 plaquettes have them."""
        return self.filters * sites // 2

    def layers(self, sites: int) -> dict[str, tuple[int, int]]:
        """Shape of each prunable layer: {"hidden": (sites, filters)}."""
        return {"hidden": (sites, self.hidden(sites))}

    def other_layers(self, sites: int) -> dict[str, tuple[int, ...]]:
        """Shape of each layer that is trained and never pruned: none."""
        return {}

    def check_fits(self, sites: int) -> None:
        """Raise ValueError where the sites are not those of a toric code."""
        side = math.isqrt(sites // 2)
        if 2 * side**2 != sites:
            raise ValueError(f"odd-parity filters on {sites} sites; they need a toric code, 2 L² sites")


class Convolutional(Config):
    """log ψ(s) = Σ gelu(kernels * s), no bias, summed over positions and kernels."""

    global_pruning: ClassVar[bool] = False

    kind: Literal["cnn"] = "cnn"
    kernels: int = Field(default=4, ge=1)
    kernel_side: int = Field(default=3, ge=1, description="linear size of the square kernels")
    padding: Literal["same", "valid", "circular"] = Field(
        default="same",
        description="same: zeros around the lattice; valid: kernels inside it; circular: periodic",
    )
    initial: Literal["he", "lecun"] = Field(default="he", description="truncated normal initial weights")

    width_per_spin: ClassVar[None] = None

    def hidden(self, sites: int) -> int:
        """Hidden units: positions of the kernels times their number."""
        side = math.isqrt(sites)
        positions = side - self.kernel_side + 1 if self.padding == "valid" else side
        return positions**2 * self.kernels

    def layers(self, sites: int) -> dict[str, tuple[int, ...]]:
        """Shape of each prunable layer: {"kernel": (kernel side, kernel side, 1, kernels)}."""
        return {"kernel": (self.kernel_side, self.kernel_side, 1, self.kernels)}

    def other_layers(self, sites: int) -> dict[str, tuple[int, ...]]:
        """Shape of each layer that is trained and never pruned: none."""
        return {}

    def check_fits(self, sites: int) -> None:
        """Raise ValueError where the sites are no square lattice or the kernels do not fit it."""
        _check_kernels_fit(sites, self.kernel_side, self.padding)


class ResidualConvolutional(Config):
    """An embedding, then blocks x + conv gelu LN conv gelu LN x, a last LN with a scale, summed.

    LN is a layer norm over the filters without parameters. The last one has a scale for each filter:
    normalised features have mean 0, and their bare sum would be log ψ = 0 for every s.
    """

    global_pruning: ClassVar[bool] = True

    kind: Literal["rescnn"] = "rescnn"
    blocks: int = Field(default=4, ge=1, description="residual blocks of two convolutions each")
    filters: int = Field(default=16, ge=2, description="channels of every convolution")
    kernel_side: int = Field(default=3, ge=1, description="linear size of the square kernels")
    padding: Literal["same", "circular"] = Field(
        default="same",
        description="same: zeros around the lattice; circular: periodic; a skip needs the lattice's size",
    )

    width_per_spin: ClassVar[None] = None

    def layers(self, sites: int) -> dict[str, tuple[int, ...]]:
        """Shape of each prunable layer, two convolutions a block: {"block0_conv0": …, "block0_conv1": …}."""
        shape = (self.kernel_side, self.kernel_side, self.filters, self.filters)
        return {f"block{block}_conv{conv}": shape for block in range(self.blocks) for conv in range(2)}

    def other_layers(self, sites: int) -> dict[str, tuple[int, ...]]:
        """Shape of each layer that is trained and never pruned: the embedding and the last scale."""
        return {
            "embedding": (self.kernel_side, self.kernel_side, 1, self.filters),
            "final_scale": (self.filters,),
        }

    def check_fits(self, sites: int) -> None:
        """Raise ValueError where the sites are no square lattice or the kernels do not fit it."""
        _check_kernels_fit(sites, self.kernel_side, self.padding)


class FlaxNetwork(Config):
    """Any Flax module: what a user brings, see docs/networks.md. It takes the general path.

    A layer is an array of the module's `params`, named by its path, such as "Dense_0/kernel".
    """

    kind: Literal["flax"] = "flax"
    factory: str = Field(
        pattern=_FUNCTION_NAME,
        description='"module:function", called with sites and the arguments; gives the module',
    )
    arguments: tuple[tuple[str, int | float | str], ...] = ()
    prunable: tuple[tuple[str, tuple[int, ...]], ...] = Field(
        min_length=1, description="shape of each layer that is pruned"
    )
    unpruned: tuple[tuple[str, tuple[int, ...]], ...] = Field(
        default=(), description="shape of each layer that is trained and never pruned"
    )
    global_pruning: bool = Field(default=False, description="all layers together, or each by itself")

    width_per_spin: ClassVar[None] = None

    @field_validator("arguments", "prunable", "unpruned", mode="before")
    @classmethod
    def _pairs(cls, given):
        # A dict cannot be hashed, and networks are keys of programs.
        return tuple(given.items()) if isinstance(given, dict) else given

    def layers(self, sites: int) -> dict[str, tuple[int, ...]]:
        """Shape of each prunable layer."""
        return dict(self.prunable)

    def other_layers(self, sites: int) -> dict[str, tuple[int, ...]]:
        """Shape of each layer that is trained and never pruned."""
        return dict(self.unpruned)

    def check_fits(self, sites: int) -> None:
        """Nothing is known before the module is made; a slot compares its layers with these."""


def _check_kernels_fit(sites: int, kernel_side: int, padding: str) -> None:
    side = math.isqrt(sites)
    if side**2 != sites:
        raise ValueError(f"a convolution on {sites} sites; it needs a square lattice, L² sites")
    # Around a lattice of zeros a kernel may be larger, as long as each entry meets a spin somewhere.
    largest = 2 * side - 1 if padding == "same" else side
    if kernel_side > largest:
        raise ValueError(
            f"kernel_side is {kernel_side}; with padding {padding!r} a {side} × {side} lattice takes at most "
            f"{largest}"
        )


class Training(Config):
    """Stochastic reconfiguration: (S + shift) δ = −rate · g, g = 2 ⟨O (E_loc − E)⟩_c."""

    samples: int = Field(default=1024, ge=2, description="Markov chains, one sample each a step")
    learning_rate: float = Field(default=8e-3, gt=0)
    diagonal_shift: float = Field(default=1e-4, gt=0)


class Measurement(Config):
    """How a trained network is measured; decides error bars, never a run's identity."""

    sweeps: int = Field(default=20, ge=4, description="recorded sweeps of every chain")
    equilibration_sweeps: int = Field(default=20, ge=0, description="sweeps before the first record")


Hamiltonian = Annotated[TransverseFieldIsing | ToricCode | PauliTerms, Field(discriminator="kind")]
Network = Annotated[
    FeedForward | Convolutional | ResidualConvolutional | OddParity | FlaxNetwork, Field(discriminator="kind")
]

# Magnitude pruning with rewinding, the same without it, and random pruning with it (paper, Sec. IV).
METHODS = ("imp_wr", "imp_ct", "irp_wr")


def _is_method(name: str) -> str:
    if name not in METHODS and not re.fullmatch(_FUNCTION_NAME, name):
        known = ", ".join(repr(method) for method in METHODS)
        raise PydanticCustomError("method", f"Input should be {known} or your own 'module:function'")
    return name


# One of METHODS, or a criterion of the user's with rewinding, "module:function": docs/pruning_criteria.md.
Method = Annotated[str, AfterValidator(_is_method)]
Variant = Literal["init_imp", "rand_imp", "init_rand"]
# Eigenvalue of the flip of all spins; a ground state without a field along z is even.
Parity = Literal["even", "odd"]


class DenseRun(Config):
    """Initialisation and pre-training of a dense network, shared by all that starts from it."""

    kind: Literal["dense"] = "dense"
    hamiltonian: Hamiltonian
    network: Network
    training: Training
    steps: int = Field(ge=0, description="pre-training steps; 0 for a network that is built")
    replicate: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_trained_or_built(self):
        built = isinstance(self.network, OddParity)
        if built and not isinstance(self.hamiltonian, ToricCode):
            raise ValueError("odd-parity filters belong to the toric code")
        if built != (self.steps == 0):
            raise ValueError(
                f"a network of kind {self.network.kind!r} is {'built: 0' if built else 'trained: at least 1'} "
                f"pre-training steps, not {self.steps}"
            )
        return self

    @cached_property
    def run_id(self) -> str:
        return run_id_of("d", self.identity())

    @property
    def dense(self) -> DenseRun:
        return self

    @property
    def parent_run_id(self) -> None:
        return None

    @property
    def first_level(self) -> int:
        return 0

    @property
    def last_level(self) -> int:
        return 0

    def steps_at(self, level: int) -> int:
        return self.steps

    def remaining(self, level: int) -> int:
        return self.initial_parameters

    @cached_property
    def initial_parameters(self) -> int:
        """Prunable weights n0."""
        return sum(self.prunable_sizes)

    @property
    def other_parameters(self) -> int:
        """Parameters that are never pruned."""
        return sum(math.prod(shape) for shape in self.network.other_layers(self.hamiltonian.sites).values())

    @cached_property
    def prunable_sizes(self) -> tuple[int, ...]:
        """Weights of each set that is pruned by itself: of each layer, or of all together."""
        sizes = tuple(math.prod(shape) for shape in self.network.layers(self.hamiltonian.sites).values())
        return (sum(sizes),) if self.network.global_pruning else sizes


class TrajectoryRun(Config):
    """Pruning levels 1 … K in series, from the end of a dense run."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"levels", "parent"})

    kind: Literal["trajectory"] = "trajectory"
    parent: DenseRun
    method: Method
    pruning_ratio: float = Field(gt=0, lt=1)
    steps_per_level: int = Field(ge=1)
    levels: int = Field(ge=1, description="how far to prune; more levels extend the same run")

    @model_validator(mode="after")
    def _levels_leave_weights(self):
        counts = self._counts
        if len(counts) <= self.levels or counts[self.levels] < 1:
            possible = next((k for k, n in enumerate(counts) if n < 1), len(counts)) - 1
            raise ValueError(
                f"levels is {self.levels}, more than the weights allow: {counts[0]} weights pruned by "
                f"{self.pruning_ratio:g} a level last {possible} levels"
            )
        return self

    def identity(self) -> dict:
        return super().identity() | {"parent": self.parent.run_id}

    @cached_property
    def run_id(self) -> str:
        return run_id_of("t", self.identity())

    @property
    def dense(self) -> DenseRun:
        return self.parent

    @property
    def parent_run_id(self) -> str:
        return self.parent.run_id

    @property
    def replicate(self) -> int:
        return self.parent.replicate

    @property
    def first_level(self) -> int:
        return 1

    @property
    def last_level(self) -> int:
        return self.levels

    def steps_at(self, level: int) -> int:
        return self.steps_per_level

    @property
    def own_criterion(self) -> str | None:
        """The method where it is a user's "module:function"."""
        return None if self.method in METHODS else self.method

    def remaining(self, level: int) -> int:
        """Prunable weights left at a level; level 0 is the dense network."""
        return self._counts[level]

    @cached_property
    def _counts(self) -> tuple[int, ...]:
        return remaining_by_level(self.parent.prunable_sizes, self.pruning_ratio, self.levels)


class TicketRun(Config):
    """One isolated training under the mask (or the density) of one level of a trajectory.

    A transfer ticket is trained at another Hamiltonian than its mask was found at (Morcos et al. 2019). A regrown
    ticket is one step of a branch that turns at a sparse level and goes back up, through the trajectory's masks in
    reverse order: it goes on from the trained weights of the branch's ticket one level sparser.
    """

    not_identity: ClassVar[frozenset[str]] = frozenset({"parent"})
    later_fields: ClassVar[frozenset[str]] = frozenset({"trained_at", "turned_at"})

    kind: Literal["ticket"] = "ticket"
    parent: TrajectoryRun
    level: int = Field(ge=1)
    variant: Variant | Literal["regrown"]
    steps: int = Field(ge=1)
    replicate: int = Field(ge=0)
    trained_at: Hamiltonian | None = Field(default=None, description="none: where its mask was found")
    turned_at: int | None = Field(
        default=None, description="regrown: the level of the trajectory at which its branch turned"
    )

    @model_validator(mode="after")
    def _is_of_a_branch(self):
        if (self.variant == "regrown") != (self.turned_at is not None):
            raise ValueError("turned_at belongs to variant 'regrown', which needs it")
        if self.turned_at is None:
            return self
        if not self.level < self.turned_at <= self.parent.levels:
            raise ValueError(
                f"a branch that turns at level {self.turned_at} has no ticket at level {self.level} of a trajectory "
                f"of {self.parent.levels} levels"
            )
        if self.trained_at is not None:
            raise ValueError("variant 'regrown' goes on from its own trajectory's weights: not transferred")
        return self

    @model_validator(mode="after")
    def _level_exists(self):
        if self.level > self.parent.levels:
            raise ValueError(f"ticket at level {self.level}, but the trajectory ends at {self.parent.levels}")
        return self

    @model_validator(mode="after")
    def _is_transferred(self):
        found_at = self.parent.dense.hamiltonian
        if self.trained_at == found_at:
            raise ValueError(f"trained_at is {found_at.label}, where the mask was found; leave it out")
        if self.trained_at is not None and self.trained_at.sites != found_at.sites:
            raise ValueError(
                f"a mask of {found_at.sites} sites trained at {self.trained_at.label}, "
                f"which has {self.trained_at.sites}"
            )
        if self.trained_at is not None and self.variant == "init_rand":
            raise ValueError("variant 'init_rand' draws a mask of its own: there is none to transfer")
        return self

    def identity(self) -> dict:
        return super().identity() | {"parent": self.parent.run_id}

    @cached_property
    def run_id(self) -> str:
        return run_id_of("k", self.identity())

    @cached_property
    def dense(self) -> DenseRun:
        """The setting it is trained in; a transfer ticket's has its own Hamiltonian and was never trained."""
        dense = self.parent.dense
        return dense if self.trained_at is None else dense.model_copy(update={"hamiltonian": self.trained_at})

    @property
    def parent_run_id(self) -> str:
        return self.parent.run_id

    @cached_property
    def sparser(self) -> TicketRun | None:
        """The ticket that a regrown one goes on from; None at the level above the turn, and for other variants."""
        if self.turned_at is None or self.level + 1 == self.turned_at:
            return None
        return self.model_copy(update={"level": self.level + 1})

    @property
    def first_level(self) -> int:
        return self.level

    @property
    def last_level(self) -> int:
        return self.level

    def steps_at(self, level: int) -> int:
        return self.steps

    def remaining(self, level: int) -> int:
        return self.parent.remaining(level)


def reference_method(hamiltonian: Hamiltonian) -> tuple[str, float]:
    """How a reference energy is computed, and the sites up to which it can be."""
    if isinstance(hamiltonian, ToricCode):
        return "exact", math.inf
    if isinstance(hamiltonian, TransverseFieldIsing):
        return "ed", EXACT_DIAGONALIZATION_SITES
    return "ed", WHOLE_SPACE_SITES


class ReferenceJob(Config):
    """A reference energy, a job of the sweep like any other: computed exactly, or by DMRG.

    A DMRG series has a level for each bond dimension of BOND_DIMENSIONS; more levels extend the same job.
    """

    later_fields: ClassVar[frozenset[str]] = frozenset({"parity"})
    not_identity: ClassVar[frozenset[str]] = frozenset({"levels"})

    kind: Literal["reference"] = "reference"
    hamiltonian: Hamiltonian
    method: Literal["ed", "exact", "dmrg"] = "ed"
    parity: Parity = Field(default="even", description="sector of the flip of all spins")
    levels: int = Field(
        default=1, ge=1, le=len(BOND_DIMENSIONS), description="DMRG: bond dimensions in series"
    )

    @model_validator(mode="after")
    def _can_be_had(self):
        has_sectors = isinstance(self.hamiltonian, TransverseFieldIsing)
        if not has_sectors and (self.method == "dmrg" or self.parity == "odd"):
            raise ValueError(f"DMRG and odd parity are for the Ising model, not {self.hamiltonian.label}")
        if self.method == "dmrg":
            return self
        method, most = reference_method(self.hamiltonian)
        if self.method != method:
            raise ValueError(f"reference by {self.method!r}; that of {self.hamiltonian.label} is {method!r}")
        if self.hamiltonian.sites > most:
            raise ValueError(
                f"exact diagonalisation of {self.hamiltonian.sites} sites; at most {most} are possible"
            )
        if self.levels > 1:
            raise ValueError(f"levels is {self.levels}; a reference by {self.method!r} has 1")
        return self

    @cached_property
    def run_id(self) -> str:
        return run_id_of("e", self.identity())

    @property
    def first_level(self) -> int:
        return 0

    @property
    def last_level(self) -> int:
        return self.levels - 1

    def bond_dimension(self, level: int) -> int | None:
        """The bond dimension of a level; None where there is none."""
        return BOND_DIMENSIONS[level] if self.method == "dmrg" else None

    @property
    def missing_package(self) -> str | None:
        """The sentence on an optional package that the energy needs and that is not installed."""
        if self.method == "dmrg" and find_spec("tenpy") is None:
            return "DMRG needs physics-tenpy, an optional extra: pip install 'pruned-nqs[references]'"
        return None


Run = Annotated[DenseRun | TrajectoryRun | TicketRun, Field(discriminator="kind")]
