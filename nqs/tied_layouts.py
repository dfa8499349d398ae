"""Networks with tied weights, as a convolution's: a W whose entries are few parameters, each many times.

Solved in parameters, the live ones as one padded vector; a flip touches the units of its site alone, as in
the list layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax import Array

from nqs.activations import ACTIVATIONS
from nqs.layouts import PaddedLists, live_bucket, padded_lists


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

    @property
    def bucket(self) -> int:
        """Padded length of the live vector."""
        return self.parameter_sites.shape[-2]


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
    padded = padded_lists(tied.sites, entry_sites, entry_units, positions, bucket, tied.units, degree)
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
