"""A sweep as data, and the plan it resolves to: every run, in an order in which parents come first.

Nothing here imports ray, pyarrow, polars or jax: a sweep file loads in a fraction of a second, and
what is wrong with it is said before anything starts.
"""

from __future__ import annotations

import itertools
import math
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from nqs.config import (
    BOND_DIMENSIONS,
    Config,
    DenseRun,
    FlaxNetwork,
    Hamiltonian,
    Measurement,
    Method,
    Network,
    Parity,
    PauliTerms,
    ReferenceJob,
    TicketRun,
    Training,
    TrajectoryRun,
    TransverseFieldIsing,
    Variant,
    reference_method,
)
from orchestrator.units import Unit, prerequisites

DEFAULT_PROFILE = "paper"

Job = Annotated[DenseRun | TrajectoryRun | TicketRun | ReferenceJob, Field(discriminator="kind")]
# The tables hold counts as 32-bit integers.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Levels = Count | dict[int, Count]

_JOB = TypeAdapter(Job)


class SweepError(ValueError):
    """What is wrong with a sweep file, in one sentence that names the file and the field."""


class Tickets(Config):
    """Which tickets are trained of every trajectory: each variant at each chosen level."""

    variants: tuple[Variant, ...] = Field(min_length=1)
    replicates: int = Field(default=1, ge=1, description="trainings of each variant and level")
    levels: tuple[Count, ...] | None = Field(default=None, min_length=1)
    weights_per_spin: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None,
        min_length=1,
        description="each picks the level whose remaining / sites is nearest in log",
    )
    transfer: bool = Field(
        default=False,
        description="train each mask also at every other Hamiltonian of the sweep with as many sites",
    )

    @model_validator(mode="after")
    def _one_way_to_choose(self):
        if (self.levels is None) == (self.weights_per_spin is None):
            found = "neither" if self.levels is None else "both"
            raise ValueError(f"{found} of levels and weights_per_spin given; exactly one chooses the levels")
        return self

    @model_validator(mode="after")
    def _has_masks_to_transfer(self):
        if self.transfer and set(self.variants) == {"init_rand"}:
            raise ValueError("transfer with variants of 'init_rand' alone: a random mask was found nowhere")
        return self

    def levels_of(self, trajectory: TrajectoryRun) -> list[int]:
        """The chosen levels of a trajectory, ascending, each once."""
        if self.levels is not None:
            return sorted(set(self.levels))
        return sorted({_nearest_level(trajectory, density) for density in self.weights_per_spin})


class Regrowth(Config):
    """Branches back up: each turns at a sparse level of every trajectory and goes through its masks in reverse.

    Every level is trained as long as on the way down. With method `imp_ct`, which goes on from trained weights
    on the way down, the two branches are a hysteresis loop.
    """

    turns: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        min_length=1, description="weights per spin at which a branch turns, at the level nearest in log"
    )
    up_to: float | None = Field(
        default=None, gt=0, description="weights per spin where the branches end; none: at level 1"
    )

    def levels_of(self, trajectory: TrajectoryRun) -> dict[int, range]:
        """The levels of the branches in the order in which they are trained, by the level that each turns at."""
        last = 1 if self.up_to is None else _nearest_level(trajectory, self.up_to)
        turns = {_nearest_level(trajectory, density) for density in self.turns}
        return {turn: range(turn - 1, last - 1, -1) for turn in sorted(turns)}


def _nearest_level(trajectory: TrajectoryRun, weights_per_spin: float) -> int:
    """The level whose remaining / sites is nearest in log."""
    wanted = weights_per_spin * trajectory.dense.hamiltonian.sites
    levels = range(1, trajectory.levels + 1)
    return min(levels, key=lambda level: abs(math.log(trajectory.remaining(level) / wanted)))


class Profile(Config):
    """A named scale of a sweep: how many steps, and what else differs from the sweep's own fields."""

    pretraining_steps: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        description="0 for networks that are built"
    )
    steps_per_level: Count | None = Field(default=None, description="of every trajectory")
    ticket_steps: Count | None = Field(default=None, description="default: as many as the pre-training")
    sides: tuple[int, ...] | None = Field(
        default=None, min_length=1, description="every Hamiltonian of the sweep at these sides instead"
    )
    hamiltonians: tuple[Hamiltonian, ...] | None = Field(default=None, min_length=1)
    networks: tuple[Network, ...] | None = Field(default=None, min_length=1)
    levels: Levels | None = None
    pruning_ratio: float | None = Field(default=None, gt=0, lt=1)
    replicates: Count | None = None
    tickets: Tickets | None = None
    regrowth: Regrowth | None = None
    samples: int | None = Field(default=None, ge=2)
    measurement: Measurement | None = None


class Sweep(Config):
    """A study declared in one file: what is trained, never how."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", description="names its run directory")
    hamiltonians: tuple[Hamiltonian, ...] = Field(min_length=1)
    networks: tuple[Network, ...] = Field(min_length=1)
    training: Training
    methods: tuple[Method, ...] = Field(default=(), description="none: dense networks alone")
    levels: Levels | None = Field(
        default=None, description="pruning levels: one number, or one for each side"
    )
    pruning_ratio: float | None = Field(default=None, gt=0, lt=1)
    replicates: int = Field(default=1, ge=1, description="dense runs, each with its trajectories")
    tickets: Tickets | None = None
    regrowth: Regrowth | None = Field(default=None, description="branches back up, for hysteresis")
    references: bool = Field(default=True, description="exact energies where the lattice allows it")
    measurement: Measurement = Measurement()
    profiles: dict[str, Profile] = Field(min_length=1)

    @model_validator(mode="after")
    def _trajectories_are_described(self):
        for field in ("tickets", "regrowth"):
            if not self.methods and getattr(self, field):
                raise ValueError(
                    f"{field} need{'s' * (field == 'regrowth')} trajectories, and methods is empty"
                )
        for name, profile in self.profiles.items() if self.methods else ():
            for field in ("levels", "pruning_ratio"):
                if getattr(profile, field) is None and getattr(self, field) is None:
                    raise ValueError(f"{field} is missing, in the sweep or in profiles[{name!r}]")
            if profile.steps_per_level is None:
                raise ValueError(f"profiles[{name!r}].steps_per_level is missing")
        return self

    @field_validator("profiles")
    @classmethod
    def _names_fit_a_path(cls, profiles):
        bad = [name for name in profiles if not name.replace("_", "").replace("-", "").isalnum()]
        if bad:
            raise ValueError(f"profile name {bad[0]!r}; allowed: letters, digits, _ and -")
        return profiles


class ReferenceScale(Config):
    """A named scale of a study of references: what differs from its own fields."""

    sides: tuple[int, ...] | None = Field(
        default=None, min_length=1, description="every Hamiltonian of the sweep at these sides instead"
    )
    hamiltonians: tuple[Hamiltonian, ...] | None = Field(default=None, min_length=1)
    bond_dimension: Count | None = None
    odd_bond_dimension: Count | None = None


class References(Config):
    """Reference energies alone: exact where the lattice allows it, and by DMRG where a bond dimension is given."""

    measurement: ClassVar[Measurement] = Measurement()

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", description="names its run directory")
    hamiltonians: tuple[Hamiltonian, ...] = Field(min_length=1)
    bond_dimension: Count | None = Field(default=None, description="DMRG of the even sector up to this one")
    odd_bond_dimension: Count | None = Field(
        default=None, description="DMRG of the odd sector, for the gap, up to this one; default: none"
    )
    profiles: dict[str, ReferenceScale] = Field(min_length=1)

    @model_validator(mode="after")
    def _bond_dimensions_are_of_the_series(self):
        for where, given in (("", self), *((f"profiles[{k!r}].", v) for k, v in self.profiles.items())):
            for field in ("bond_dimension", "odd_bond_dimension"):
                found = getattr(given, field)
                if found is not None and found not in BOND_DIMENSIONS:
                    known = ", ".join(map(str, BOND_DIMENSIONS))
                    raise ValueError(f"{where}{field} is {found}; allowed: {known}")
        return self


@dataclass(frozen=True)
class Plan:
    """All that a sweep asks for at one profile.

    Attributes:
        jobs: runs and reference energies by id; a run comes after its parent.
    """

    sweep: str
    profile: str
    measurement: Measurement
    jobs: dict[str, Job]

    @property
    def own_code(self) -> list[str | tuple[FlaxNetwork, int]]:
        """What runs ask for of the user's: pruning criteria, and networks with the sites they are made for."""
        criteria, networks = set(), {}
        for job in self.jobs.values():
            if isinstance(job, TrajectoryRun) and job.own_criterion:
                criteria.add(job.own_criterion)
            if isinstance(job, DenseRun) and isinstance(job.network, FlaxNetwork):
                networks[job.network, job.hamiltonian.sites] = None
        return [*sorted(criteria), *networks]

    @cached_property
    def prerequisites(self) -> dict[Unit, Unit | None]:
        """Of every unit the one that must be committed before it starts, parents first."""
        return prerequisites(self.jobs)

    def as_data(self) -> dict:
        """Plain data for sweep.json; a parent is written as its id."""
        return {
            "sweep": self.sweep,
            "profile": self.profile,
            "measurement": self.measurement.model_dump(mode="json"),
            "runs": [_job_data(run_id, job) for run_id, job in self.jobs.items()],
        }

    @classmethod
    def from_data(cls, data: dict) -> Plan:
        """The plan that `as_data` wrote.

        Raises:
            ValueError: a field is missing or wrong, or a run does not have the id it is filed under.
        """
        jobs: dict[str, Job] = {}
        try:
            for fields in data["runs"]:
                own = {name: value for name, value in fields.items() if name != "run_id"}
                if "parent" in own:
                    own["parent"] = jobs[own["parent"]]
                job = _JOB.validate_python(own)
                if job.run_id != fields["run_id"]:
                    raise ValueError(f"run {fields['run_id']} has contents that belong to {job.run_id}")
                jobs[fields["run_id"]] = job
            measurement = Measurement.model_validate(data["measurement"])
            return cls(str(data["sweep"]), str(data["profile"]), measurement, jobs)
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from None


def _job_data(run_id: str, job: Job) -> dict:
    fields = {"run_id": run_id, **job.model_dump(mode="json", exclude={"parent"})}
    if isinstance(job, (TrajectoryRun, TicketRun)):
        fields["parent"] = job.parent_run_id
    return fields


def resolve(sweep: Sweep | References, profile_name: str) -> Plan:
    """Every run and reference energy that the sweep asks for at one profile, shared ones once.

    Raises:
        SweepError: an unknown profile, or fields that do not fit each other.
    """
    if profile_name not in sweep.profiles:
        known = ", ".join(repr(name) for name in sweep.profiles)
        raise SweepError(f"profile {profile_name!r} is not one of the sweep's profiles; known: {known}")
    profile = sweep.profiles[profile_name]
    jobs: dict[str, Job] = {}
    hamiltonians = _hamiltonians(sweep, profile, profile_name)
    if isinstance(sweep, References):
        jobs = {job.run_id: job for each in hamiltonians for job in _reference_jobs(sweep, profile, each)}
        return Plan(sweep.name, profile_name, sweep.measurement, jobs)
    for hamiltonian in hamiltonians:
        for network in profile.networks or sweep.networks:
            for run in _runs(sweep, profile, profile_name, hamiltonian, network, hamiltonians):
                jobs.setdefault(run.run_id, run)
    if sweep.references:
        for hamiltonian in hamiltonians:
            for job in _exact_jobs(hamiltonian, ("even",)):
                jobs.setdefault(job.run_id, job)
    return Plan(sweep.name, profile_name, profile.measurement or sweep.measurement, jobs)


def _exact_jobs(hamiltonian: Hamiltonian, parities: Iterable[Parity]) -> list[ReferenceJob]:
    method, most_sites = reference_method(hamiltonian)
    if hamiltonian.sites > most_sites:
        return []
    return [ReferenceJob(hamiltonian=hamiltonian, method=method, parity=parity) for parity in parities]


def _reference_jobs(
    sweep: References, profile: ReferenceScale, hamiltonian: Hamiltonian
) -> list[ReferenceJob]:
    """Exact references of both parities, and DMRG series; the toric code has its exact energy alone."""
    if not isinstance(hamiltonian, TransverseFieldIsing):
        return _exact_jobs(hamiltonian, ("even",))
    jobs = _exact_jobs(hamiltonian, ("even", "odd"))
    for parity, largest in (
        ("even", profile.bond_dimension or sweep.bond_dimension),
        ("odd", profile.odd_bond_dimension or sweep.odd_bond_dimension),
    ):
        if largest is not None:
            levels = BOND_DIMENSIONS.index(largest) + 1
            jobs.append(ReferenceJob(hamiltonian=hamiltonian, method="dmrg", parity=parity, levels=levels))
    return jobs


def _hamiltonians(
    sweep: Sweep | References, profile: Profile | ReferenceScale, profile_name: str
) -> list[Hamiltonian]:
    chosen = profile.hamiltonians or sweep.hamiltonians
    if profile.sides is None:
        return list(dict.fromkeys(chosen))
    field = f"profiles[{profile_name!r}].sides"
    if given := next((h for h in chosen if isinstance(h, PauliTerms)), None):
        raise SweepError(
            f"{field}: the terms of {given.label} are those of one lattice; "
            f"give profiles[{profile_name!r}].hamiltonians instead"
        )
    try:
        # Validated anew: copies with another side would not be.
        others = [
            type(h).model_validate(h.model_dump() | {"side": side}) for h in chosen for side in profile.sides
        ]
    except ValidationError as error:
        raise SweepError(f"{field}: {validation_sentence(error)}") from None
    return list(dict.fromkeys(others))


def _runs(
    sweep: Sweep,
    profile: Profile,
    profile_name: str,
    hamiltonian: Hamiltonian,
    network: Network,
    hamiltonians: list[Hamiltonian],
):
    """The runs of one Hamiltonian and network, parents first; masks may be trained at the others, too."""
    try:
        network.check_fits(hamiltonian.sites)
        # Nine spins of a chain would be folded to 3 × 3.
        if network.kind in ("cnn", "rescnn") and hamiltonian.side**2 != hamiltonian.sites:
            raise ValueError(
                f"a convolution on {hamiltonian.label} of side {hamiltonian.side}; it needs side² sites"
            )
    except ValueError as error:
        field = f"profiles[{profile_name!r}].networks" if profile.networks else "networks"
        index = (profile.networks or sweep.networks).index(network)
        raise SweepError(f"{field}[{index}]: {error}") from None
    training = sweep.training
    if profile.samples is not None:
        training = training.model_copy(update={"samples": profile.samples})
    for replicate in range(profile.replicates or sweep.replicates):
        try:
            dense = DenseRun(
                hamiltonian=hamiltonian,
                network=network,
                training=training,
                steps=profile.pretraining_steps,
                replicate=replicate,
            )
        except ValidationError as error:
            raise SweepError(
                f"profiles[{profile_name!r}].pretraining_steps: {validation_sentence(error)}"
            ) from None
        yield dense
        for method in sweep.methods:
            levels, field = _levels(sweep, profile, profile_name, hamiltonian.side)
            trajectory = _trajectory(sweep, profile, dense, method, levels, field)
            yield trajectory
            yield from _tickets(sweep, profile, profile_name, trajectory, hamiltonians)
            yield from _regrown(sweep, profile, profile_name, trajectory)


def _levels(sweep: Sweep, profile: Profile, profile_name: str, side: int) -> tuple[int, str]:
    """The number of levels at a side, and the name of the field that says so."""
    of_profile = profile.levels is not None
    levels, field = (
        (profile.levels, f"profiles[{profile_name!r}].levels") if of_profile else (sweep.levels, "levels")
    )
    if isinstance(levels, int):
        return levels, field
    if side not in levels:
        known = ", ".join(str(known) for known in levels)
        raise SweepError(f"{field} has no entry for side {side}; it has {known}")
    return levels[side], f"{field}[{side}]"


def _trajectory(
    sweep: Sweep, profile: Profile, dense: DenseRun, method: Method, levels: int, field: str
) -> TrajectoryRun:
    try:
        return TrajectoryRun(
            parent=dense,
            method=method,
            pruning_ratio=profile.pruning_ratio or sweep.pruning_ratio,
            steps_per_level=profile.steps_per_level,
            levels=levels,
        )
    except ValidationError as error:
        raise SweepError(f"{field}: {validation_sentence(error)}") from None


def _tickets(
    sweep: Sweep,
    profile: Profile,
    profile_name: str,
    trajectory: TrajectoryRun,
    hamiltonians: list[Hamiltonian],
):
    tickets = profile.tickets or sweep.tickets
    if tickets is None:
        return
    found_at = trajectory.dense.hamiltonian
    others = [h for h in hamiltonians if h.sites == found_at.sites and h != found_at]
    field = f"profiles[{profile_name!r}].tickets" if profile.tickets else "tickets"
    if tickets.transfer and not others:
        raise SweepError(
            f"{field}.transfer: no other Hamiltonian of the sweep has {found_at.sites} sites as "
            f"{found_at.label} has"
        )
    for level in tickets.levels_of(trajectory):
        if level > trajectory.levels:
            raise SweepError(
                f"{field}.levels has {level}; allowed: 1 to {trajectory.levels}, the levels of the "
                f"{trajectory.dense.hamiltonian.label} trajectory"
            )
        for trained_at in [None, *others] if tickets.transfer else [None]:
            for variant, replicate in itertools.product(tickets.variants, range(tickets.replicates)):
                if trained_at is not None and variant == "init_rand":
                    continue  # a random mask was found nowhere
                yield TicketRun(
                    parent=trajectory,
                    level=level,
                    variant=variant,
                    steps=profile.ticket_steps or profile.pretraining_steps,
                    replicate=replicate,
                    trained_at=trained_at,
                )


def _regrown(sweep: Sweep, profile: Profile, profile_name: str, trajectory: TrajectoryRun):
    """The tickets of the branches back up, each after the one that it goes on from."""
    regrowth = profile.regrowth or sweep.regrowth
    if regrowth is None:
        return
    for turn, levels in regrowth.levels_of(trajectory).items():
        if not levels:
            field = f"profiles[{profile_name!r}].regrowth" if profile.regrowth else "regrowth"
            raise SweepError(
                f"{field}: no level of the {trajectory.dense.hamiltonian.label} trajectory lies above its turn "
                f"at {trajectory.remaining(turn) / trajectory.dense.hamiltonian.sites:.3g} weights per spin"
            )
        for level in levels:
            yield TicketRun(
                parent=trajectory,
                level=level,
                variant="regrown",
                steps=trajectory.steps_per_level,
                replicate=0,
                turned_at=turn,
            )


def load_plan(path: Path, profile_name: str) -> Plan:
    """The plan of a sweep file at one of its profiles.

    Raises:
        SweepError: one sentence that starts with the file.
    """
    parts = load_sweep(path)
    # A part that is out of a scale's reach leaves that profile out.
    chosen = [part for part in parts if profile_name in part.profiles] or parts
    try:
        plans = [resolve(part, profile_name) for part in chosen]
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from None
    jobs = {run_id: job for plan in plans for run_id, job in plan.jobs.items()}
    return Plan(plans[0].sweep, plans[0].profile, plans[0].measurement, jobs)


def load_sweep(path: Path) -> tuple[Sweep | References, ...]:
    """The `sweep` that a file declares: one, or the parts of a study whose networks are trained differently.

    Raises:
        SweepError: one sentence that starts with the file.
    """
    text = _text(path)
    namespace = {"__name__": "sweep", "__file__": str(path)}
    try:
        # A sweep file is the user's own program. Not imported: that would leave byte code beside it.
        exec(compile(text, str(path), "exec"), namespace)  # noqa: S102
    except SyntaxError as error:
        raise SweepError(f"{path}, line {error.lineno}: not valid Python: {error.msg}") from None
    except ValidationError as error:
        raise SweepError(f"{_where(path, error)}: {validation_sentence(error)}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever the file raises)
        first_line = (str(error) or "no message").splitlines()[0]
        raise SweepError(f"{_where(path, error)}: {type(error).__name__}: {first_line}") from None
    sweep = namespace.get("sweep")
    parts = tuple(sweep) if isinstance(sweep, (list, tuple)) else (sweep,)
    if not parts or not all(isinstance(part, (Sweep, References)) for part in parts):
        found = (
            f"`sweep` is of type {type(sweep).__name__}" if "sweep" in namespace else "there is no `sweep`"
        )
        raise SweepError(f"{path}: {found}; a sweep file says `sweep = Sweep(...)`, or a list of them")
    for field in ("name", "measurement"):
        if len({getattr(part, field) for part in parts}) > 1:
            raise SweepError(f"{path}: the parts of a sweep must have the same {field}")
    return parts


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = _nearest_file(path)
        hint = f"; did you mean {near}?" if near else ""
        raise SweepError(f"{path}: no such sweep file{hint}") from None
    except OSError as error:
        raise SweepError(f"{path}: cannot be read as a sweep file: {error.strerror}") from None


def _nearest_file(path: Path) -> Path | None:
    """The file of nearly this name beside it or in sweeps/; None where there is none."""
    files = {file.stem: file for folder in (Path("sweeps"), path.parent) for file in folder.glob("*.py")}
    return next((files[name] for name in get_close_matches(path.stem, files, n=1)), None)


def _where(path: Path, error: BaseException) -> str:
    """File and the line of it that raised."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def validation_sentence(error: ValidationError) -> str:
    """One sentence for all that pydantic found: field, what was found, what is allowed."""
    sentences: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        field = _field_name(error.title, problem["loc"])
        # A field of several types is refused once for each of them; the first says enough.
        sentences.setdefault(field, _problem_sentence(error.title, field, problem))
    return "; ".join(sentences.values())


def _field_name(title: str, location: tuple) -> str:
    name = title
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part.isidentifier() and part not in ("int", "float", "str"):
            name += f".{part}"
    return name


def _problem_sentence(title: str, field: str, problem: dict) -> str:
    match problem["type"]:
        case "missing":
            return f"{field} is missing"
        case "extra_forbidden":
            return f"{field} is not a field{_known_fields(title)}"
        case "value_error":
            return f"{field}: {problem['ctx']['error']}"
        case _:
            return f"{field} is {_shown(problem['input'])}; allowed: {_allowed(problem)}"


def _allowed(problem: dict) -> str:
    """What pydantic would have taken, in the words of who writes a sweep file."""
    match problem["type"]:
        case "tuple_type":
            return "a list"
        case "too_short":
            return f"a list of at least {problem['ctx']['min_length']}"
        case "string_pattern_mismatch":
            return f"a text that matches {problem['ctx']['pattern']}"
        case _:
            return problem["msg"].removeprefix("Input should be ")


def _known_fields(title: str) -> str:
    models = {model.__name__: model for model in Config.__subclasses__()}
    return f"; known: {', '.join(models[title].model_fields)}" if title in models else ""


def _shown(value) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
