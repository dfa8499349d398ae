"""What is wanted: Hamiltonians, networks, training and the three kinds of run, as frozen data.

Nothing here imports jax or netket: a sweep file and the driver read these configs in milliseconds,
and every count or cost is arithmetic on them.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nqs.identity import canonical_json, run_id_of
from nqs.pruning import remaining_by_level

# The largest lattices that a dense 2^N sum and an exact diagonalisation can reach.
FULL_SUMMATION_SITES = 18
EXACT_DIAGONALIZATION_SITES = 25


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
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.not_identity or (name in self.later_fields and value == field.default):
                continue
            chosen[name] = value.identity() if isinstance(value, Config) else value
        return chosen


class TransverseFieldIsing(Config):
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
    def parameters_json(self) -> str:
        """Canonical JSON of everything that fixes H: the key that reference energies join on."""
        return canonical_json({k: v for k, v in self.identity().items() if k != "kind"})

    @property
    def label(self) -> str:
        return f"{self.side}×{self.side} TFIM h={self.field:g}"


class FeedForward(Config):
    """log ψ(s) = Σ_j relu(Σ_i W_ij s_i), no bias, α N hidden units."""

    kind: Literal["ffnn"] = "ffnn"
    width_per_spin: float = Field(default=8.0, gt=0, description="α, hidden units a site")
    initial_std: float = Field(default=0.01, gt=0, description="spread of the normal initial weights")

    def hidden(self, sites: int) -> int:
        return round(self.width_per_spin * sites)

    def layers(self, sites: int) -> dict[str, tuple[int, int]]:
        """Shape of each prunable layer: {"hidden": (sites, hidden units)}."""
        return {"hidden": (sites, self.hidden(sites))}

    def check_fits(self, sites: int) -> None:
        """Raise ValueError where α N is not a whole number of hidden units."""
        hidden = self.width_per_spin * sites
        if abs(hidden - round(hidden)) > 1e-9 or round(hidden) < 1:
            raise ValueError(
                f"width_per_spin {self.width_per_spin:g} gives {hidden:g} hidden units on {sites} "
                "sites; it must be a whole number, at least 1"
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


Hamiltonian = TransverseFieldIsing  # a discriminated union once there are more kinds
Network = FeedForward

Method = Literal["imp_wr"]
Variant = Literal["init_imp", "rand_imp", "init_rand"]


class DenseRun(Config):
    """Initialisation and pre-training of a dense network, shared by all that starts from it."""

    kind: Literal["dense"] = "dense"
    hamiltonian: Hamiltonian
    network: Network
    training: Training
    steps: int = Field(ge=1, description="pre-training steps")
    replicate: int = Field(ge=0)

    @property
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

    @property
    def initial_parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.network.layers(self.hamiltonian.sites).values())


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

    @property
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

    def remaining(self, level: int) -> int:
        """Prunable weights left at a level; level 0 is the dense network."""
        return self._counts[level]

    @property
    def _counts(self) -> tuple[int, ...]:
        shapes = self.parent.network.layers(self.parent.hamiltonian.sites).values()
        return remaining_by_level(tuple(math.prod(s) for s in shapes), self.pruning_ratio, self.levels)


class TicketRun(Config):
    """One isolated training under the mask (or the density) of one level of a trajectory."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"parent"})

    kind: Literal["ticket"] = "ticket"
    parent: TrajectoryRun
    level: int = Field(ge=1)
    variant: Variant
    steps: int = Field(ge=1)
    replicate: int = Field(ge=0)

    @model_validator(mode="after")
    def _level_exists(self):
        if self.level > self.parent.levels:
            raise ValueError(f"ticket at level {self.level}, but the trajectory ends at {self.parent.levels}")
        return self

    def identity(self) -> dict:
        return super().identity() | {"parent": self.parent.run_id}

    @property
    def run_id(self) -> str:
        return run_id_of("k", self.identity())

    @property
    def dense(self) -> DenseRun:
        return self.parent.parent

    @property
    def parent_run_id(self) -> str:
        return self.parent.run_id

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


class ReferenceJob(Config):
    """A reference energy computed exactly, a job of the sweep like any other."""

    kind: Literal["reference"] = "reference"
    hamiltonian: Hamiltonian
    method: Literal["ed"] = "ed"

    @field_validator("hamiltonian")
    @classmethod
    def _small_enough(cls, hamiltonian):
        if hamiltonian.sites > EXACT_DIAGONALIZATION_SITES:
            raise ValueError(
                f"exact diagonalisation of {hamiltonian.sites} sites; "
                f"at most {EXACT_DIAGONALIZATION_SITES} are possible"
            )
        return hamiltonian

    @property
    def run_id(self) -> str:
        return run_id_of("e", self.identity())


Run = Annotated[DenseRun | TrajectoryRun | TicketRun, Field(discriminator="kind")]
