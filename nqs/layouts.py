"""How a pruned network lies in memory, and which of two ways its SR step is solved.

Row layout, solved in samples: W as (sites, hidden) with zeros where pruned. List layout, solved in
parameters: the live weights alone, as one vector in a padded bucket; dead hidden units are gone. The
choice follows from live counts alone, so a resumed run compiles the same programs, and a whole trajectory
needs one for the rows and at most eight for the buckets.

Tied layout, solved in parameters: a W whose entries are few parameters, each many times, as in a
convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

# Made by numpy, so that what only counts needs no jax; on a device they are jax's.
Array = np.ndarray

from nqs.activations import ACTIVATIONS

# Live weights are padded to the next of these.
LIVE_BUCKETS = (64, 128, 256, 384, 512, 640, 832, 1024)
# Columns of the Gram matrix are packed into words of 32 bits, and words are counted eight at a time.
COLUMN_CHUNK = 256
# Counting one column of all pairs of samples takes a tenth of a unit's part in their float32 product.
WEIGHTED_COLUMNS = 10


class SiteLists(NamedTuple):
    """Each site's own live weights, one site after the other, for the compiled loops on CPUs.

    Attributes:
        starts: (sites + 2,) int32; site i has the entries starts[i] … starts[i + 1]; index `sites`, a
            spin that is always +1, has none.
        units: (capacity,) int32, the hidden unit of each entry.
        positions: (capacity,) int32, the weight of each entry in the flattened weights.
    """

    starts: Array
    units: Array
    positions: Array


class PaddedLists(NamedTuple):
    """The same with one length for all sites, for loops in jax.

    Attributes:
        weights: (sites + 1, degree) int32, positions in the live vector; padding points one past its end,
            at a weight that is 0.
        units: (sites + 1, degree) int32, the unit of each, each once for a site; padding is the dummy
            unit, the last one.
    """

    weights: Array
    units: Array


class RowLayout(NamedTuple):
    """A network that is solved in samples: full rows, and the columns that correct the Gram matrix.

    Attributes:
        mask: (sites, hidden) float64, 1 where live.
        hadamard: int32 scalar; 1: start from the Gram matrix of the unpruned network, 0: from nothing.
        column_sign: int32 scalar; −1 subtracts the listed (pruned) columns, +1 adds the (live) ones.
        column_chunks: int32 scalar, chunks of COLUMN_CHUNK columns in use.
        weighted: int32 scalar; 1: how often two samples have a column's unit on in common is one product
            with the units' degrees, 0: it is counted column by column.
        column_sites, column_units: (capacity,) int32, the site and unit of each listed weight; padding
            has unit `hidden`, a unit that is never on.
        column_degrees: (hidden,) float32, listed weights of each unit.
        lists: the live weights by site, or None where the loops over full rows are used.
    """

    mask: Array
    hadamard: Array
    column_sign: Array
    column_chunks: Array
    weighted: Array
    column_sites: Array
    column_units: Array
    column_degrees: Array
    lists: SiteLists | None


class ListLayout(NamedTuple):
    """A network that is solved in parameters: live weights as one padded vector.

    Attributes:
        weight_sites, weight_units: (bucket,) int32, site and unit of each live weight; padding has the
            dummy unit, the last one, which is never on.
        lists: the live weights by site, on CPUs.
        padded: the same padded, on other devices.
    """

    weight_sites: Array
    weight_units: Array
    lists: SiteLists | None
    padded: PaddedLists | None

    @property
    def units(self) -> int:
        """Rows of θ: live units at most, and the dummy."""
        return self.weight_sites.shape[-1] + 1


@dataclass(frozen=True)
class TiedWeights:
    """The W of a single hidden layer by its entries, each of them one of few parameters; not a pytree.

    Attributes:
        sites, units, parameters: how many there are, pruned ones included.
        entry_sites, entry_units, entry_parameters: (entries,) integers; W is 0 elsewhere.
    """

    sites: int
    units: int
    parameters: int
    entry_sites: np.ndarray
    entry_units: np.ndarray
    entry_parameters: np.ndarray


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("padded", "live", "parameter_sites", "parameter_units"),
    meta_fields=("units", "activation"),
)
@dataclass(frozen=True)
class TiedLayout:
    """A network with tied weights, solved in parameters: the live ones as one padded vector.

    Attributes:
        padded: the entries of live parameters by site; `weights` are positions in the live vector.
        live: int32 scalar, live parameters.
        parameter_sites, parameter_units: (bucket, repeats) int32, site and unit of each entry of a
            parameter; padding has the dummy unit.
        units: rows of θ: all units, pruned or not, so that the shape is that of every mask; the dummy.
        activation: a name of `nqs.activations`.
    """

    padded: PaddedLists
    live: Array
    parameter_sites: Array
    parameter_units: Array
    units: int
    activation: str


def choose_layout(
    shape: tuple[int, int], indices: np.ndarray, samples: int, compiled: bool, degree: int | None = None
) -> RowLayout | ListLayout:
    """The layout of a network: solved in parameters where they are fewer than the samples.

    Both solves cost a cube; with fewer parameters the metric is smaller, at equal size the rows need no
    padding.

    Args:
        shape: (sites, hidden).
        indices: (live,) ascending positions of the live weights in the flattened layer.
        samples: of a training step.
        compiled: whether the compiled loops of `cpu_kernels` will run it.
        degree: length of padded lists; None: what this network needs.
    """
    bucket = live_bucket(len(indices), samples)
    if bucket is None:
        return row_layout(shape, indices, compiled)
    return list_layout(shape, indices, bucket, compiled, degree)


def live_bucket(live: int, samples: int) -> int | None:
    """Padded length of the live vector, or None where it would not be shorter than the samples."""
    return next((bucket for bucket in LIVE_BUCKETS if live <= bucket < samples), None)


def row_layout(shape: tuple[int, int], indices: np.ndarray, compiled: bool) -> RowLayout:
    """The row layout of a layer (sites, hidden) whose live weights are at `indices`."""
    sites, hidden = shape
    mask = np.zeros(sites * hidden)
    mask[indices] = 1
    pruned = np.flatnonzero(mask == 0)
    subtract = len(pruned) <= len(indices)
    listed = pruned if subtract else indices
    # At most half of all weights are ever listed: one capacity, one program at every density.
    capacity = -(-(sites * hidden // 2) // COLUMN_CHUNK) * COLUMN_CHUNK
    column_sites = np.zeros(capacity, np.int32)
    column_units = np.full(capacity, hidden, np.int32)
    column_sites[: len(listed)], column_units[: len(listed)] = np.divmod(listed, hidden)
    return RowLayout(
        mask.reshape(shape),
        np.int32(subtract),
        np.int32(-1 if subtract else 1),
        np.int32(-(-len(listed) // COLUMN_CHUNK)),
        np.int32(len(listed) > WEIGHTED_COLUMNS * hidden),
        column_sites,
        column_units,
        np.bincount(listed % hidden, minlength=hidden).astype(np.float32),
        _site_lists(sites, *np.divmod(indices, hidden), indices, sites * hidden) if compiled else None,
    )


def list_layout(
    shape: tuple[int, int], indices: np.ndarray, bucket: int, compiled: bool, degree: int | None = None
) -> ListLayout:
    """The list layout of a layer (sites, hidden) whose live weights are at `indices`.

    Raises:
        ValueError: more live weights than the bucket holds.
    """
    sites, hidden = shape
    live = len(indices)
    if live > bucket:
        raise ValueError(f"{live} live weights do not fit a bucket of {bucket}")
    weight_sites, weight_units = np.zeros(bucket, np.int32), np.full(bucket, bucket, np.int32)
    weight_sites[:live], units = np.divmod(indices, hidden)
    # Units are renumbered without gaps: θ has rows for the live ones alone.
    weight_units[:live] = np.unique(units, return_inverse=True)[1]
    if compiled:
        own = weight_sites[:live], weight_units[:live]
        return ListLayout(weight_sites, weight_units, _site_lists(sites, *own, np.arange(live), bucket), None)
    degree = degree or padded_degree(shape, indices)
    own = weight_sites[:live], weight_units[:live], np.arange(live)
    padded = _padded_lists(sites, *own, bucket, bucket, degree)
    return ListLayout(weight_sites, weight_units, None, padded)


def padded_degree(shape: tuple[int, int], indices: np.ndarray) -> int:
    """Length of padded site lists: a power of two, at least 8, so that few programs serve all masks."""
    largest = int(np.bincount(indices // shape[1], minlength=shape[0]).max(initial=1))
    return max(8, 1 << (largest - 1).bit_length())


def convolution(side: int, kernel_side: int, channels: int, padding: str) -> TiedWeights:
    """The W of one convolutional layer without bias, as `flax.linen.Conv` has it, on a square lattice.

    A unit is a position and a channel, a parameter an entry of the kernels (kernel side, kernel side, 1,
    channels), flattened. Site side · x + y is the input's pixel (x, y).

    Args:
        padding: "SAME", zeros around an open lattice; "VALID", positions whose kernel lies inside; or
            "CIRCULAR", periodic.

    Raises:
        ValueError: unknown padding; or the kernel does not fit the lattice, where it has to.
    """
    if padding not in ("SAME", "VALID", "CIRCULAR"):
        raise ValueError(f"padding is {padding!r}; allowed: 'SAME', 'VALID', 'CIRCULAR'")
    if padding != "SAME" and kernel_side > side:
        raise ValueError(f"kernels of side {kernel_side} do not fit a lattice of side {side}")
    positions = side - kernel_side + 1 if padding == "VALID" else side
    # A kernel is centred on its position; one of even side has its longer half after it.
    before = 0 if padding == "VALID" else (kernel_side - 1) // 2
    x, y, dx, dy, channel = (
        axis.ravel() for axis in np.indices((positions, positions, kernel_side, kernel_side, channels))
    )
    column, row = x + dx - before, y + dy - before
    if padding == "CIRCULAR":
        column, row = column % side, row % side
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    return TiedWeights(
        side**2,
        positions**2 * channels,
        kernel_side**2 * channels,
        (side * column + row)[inside],
        ((positions * x + y) * channels + channel)[inside],
        ((kernel_side * dx + dy) * channels + channel)[inside],
    )


def tied_layout(
    tied: TiedWeights, indices: np.ndarray, samples: int, activation: str, degree: int | None = None
) -> TiedLayout:
    """The layout of a network with tied weights, for the loops in jax.

    Args:
        indices: (live,) ascending positions of the live parameters; entries of others are left out.
        samples: of a training step.
        activation: a name of `nqs.activations`.
        degree: length of the lists by site; None: what this network needs, see `tied_degree`.

    Raises:
        ValueError: more live parameters than samples, an unknown activation, or two parameters at one
            entry of W.
    """
    live = len(indices)
    if live > samples:
        raise ValueError(
            f"{live} live parameters are more than {samples} samples; tied weights are solved in"
            f" parameters: take at least {live} samples, or nqs.general"
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; allowed: {', '.join(map(repr, ACTIVATIONS))}")
    if len(np.unique(tied.entry_sites * tied.units + tied.entry_units)) < len(tied.entry_sites):
        raise ValueError("an entry of W has several parameters; each has to be one")
    bucket = live_bucket(live, samples) or samples
    kept = np.isin(tied.entry_parameters, indices)
    entry_sites, entry_units = tied.entry_sites[kept], tied.entry_units[kept]
    positions = np.searchsorted(indices, tied.entry_parameters[kept])
    degree = degree or tied_degree(tied, indices)
    # One length for every mask.
    repeats = int(np.bincount(tied.entry_parameters).max(initial=1))
    parameter_sites = np.zeros((bucket, repeats), np.int32)
    parameter_units = np.full((bucket, repeats), tied.units, np.int32)
    for position in range(live):
        own = np.flatnonzero(positions == position)
        parameter_sites[position, : len(own)] = entry_sites[own]
        parameter_units[position, : len(own)] = entry_units[own]
    padded = _padded_lists(tied.sites, entry_sites, entry_units, positions, bucket, tied.units, degree)
    return TiedLayout(padded, np.int32(live), parameter_sites, parameter_units, tied.units + 1, activation)


def tied_degree(tied: TiedWeights, indices: np.ndarray) -> int:
    """Length of padded site lists: a multiple of 4, or of an eighth of itself.

    Finer than `padded_degree`: all sites inside the lattice have equally many entries, so that padding
    would be a loss for each of them.
    """
    sites_of = tied.entry_sites[np.isin(tied.entry_parameters, indices)]
    largest = int(np.bincount(sites_of).max(initial=1))
    step = max(4, (1 << largest.bit_length()) // 16)
    return -(-largest // step) * step


def _site_lists(sites: int, sites_of, units_of, positions, capacity: int) -> SiteLists:
    lists = SiteLists(
        np.searchsorted(sites_of, np.arange(sites + 2)).astype(np.int32),
        np.zeros(capacity, np.int32),
        np.zeros(capacity, np.int32),
    )
    lists.units[: len(units_of)], lists.positions[: len(positions)] = units_of, positions
    return lists


def _padded_lists(
    sites: int, sites_of, units_of, positions, no_position: int, no_unit: int, degree: int
) -> PaddedLists:
    lists = PaddedLists(
        *(np.full((sites + 1, degree), padding, np.int32) for padding in (no_position, no_unit))
    )
    for site in range(sites):
        own = np.flatnonzero(sites_of == site)
        lists.weights[site, : len(own)], lists.units[site, : len(own)] = positions[own], units_of[own]
    return lists
