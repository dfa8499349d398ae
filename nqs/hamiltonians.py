"""Hamiltonians in flip form: the config's own, and any of NetKet's operators.

H = d(s) + Σ_k c_k X_{F_k}: a diagonal that is a sum of products of few s_i, and terms that flip the
set F_k of spins. The engine needs c_k ≤ 0, so that the ground state can be real and positive.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nqs.config import TransverseFieldIsing


class FlipForm(NamedTuple):
    """A Hamiltonian as data; site lists are padded with the index `sites`, a spin that is always +1.

    Attributes:
        diagonal_coefficients: (terms,) float64, units of J.
        diagonal_sites: (terms, order) int32, the spins multiplied in each diagonal term.
        flip_coefficients: (flips,) float64, c_k ≤ 0.
        flip_sites: (flips, width) int32, the spins that X_{F_k} flips.
    """

    diagonal_coefficients: Array
    diagonal_sites: Array
    flip_coefficients: Array
    flip_sites: Array


def netket_graph(hamiltonian: TransverseFieldIsing):
    """The lattice as NetKet's graph; site x·L + y sits at column x, row y."""
    import netket as nk

    return nk.graph.Grid([hamiltonian.side] * 2, pbc=hamiltonian.boundary == "periodic")


def netket_operator(hamiltonian: TransverseFieldIsing):
    """The Hamiltonian as NetKet's operator: for work in NetKet, and the oracle of the tests."""
    import netket as nk

    graph = netket_graph(hamiltonian)
    hilbert = nk.hilbert.Spin(0.5, graph.n_nodes)
    # NetKet's Ising has +J Σ σz σz; the paper's ferromagnet is J = −1 there.
    return nk.operator.Ising(hilbert, graph, h=hamiltonian.field, J=-hamiltonian.coupling)


def flip_form(hamiltonian: TransverseFieldIsing) -> FlipForm:
    """The flip form of a Hamiltonian of the config.

    Not by way of NetKet, whose import and Pauli strings take a slot 0.3 GiB and seconds at its start.
    """
    bonds = lattice_bonds(hamiltonian.side, hamiltonian.boundary)
    sites = np.arange(hamiltonian.sites, dtype=np.int32)[:, None]
    return FlipForm(
        np.full(len(bonds), -hamiltonian.coupling), bonds, np.full(len(sites), -hamiltonian.field), sites
    )


def lattice_bonds(side: int, boundary: str) -> np.ndarray:
    """Nearest neighbours (bonds, 2) int32 of the square lattice, each pair once, ascending.

    Args:
        boundary: "open" or "periodic"; a periodic side of 2 has each of its four bonds once.
    """
    sites = np.arange(side**2).reshape(side, side)
    pairs = [(sites[:-1], sites[1:]), (sites[:, :-1], sites[:, 1:])]
    if boundary == "periodic":
        pairs += [(sites[-1], sites[0]), (sites[:, -1], sites[:, 0])]
    ends = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])
    return np.unique(np.sort(ends, axis=1), axis=0).astype(np.int32)


def compile_flip_form(operator) -> FlipForm:
    """The flip form of any NetKet operator whose flips have constant, non-positive coefficients.

    Raises:
        ValueError: a flip has a complex, positive or spin-dependent coefficient; the sentence names
            the Pauli string.
    """
    import netket as nk

    strings = operator
    if not isinstance(operator, (nk.operator.PauliStringsNumba, nk.operator.PauliStringsJax)):
        strings = operator.to_local_operator().to_pauli_strings()
    sites = operator.hilbert.size
    diagonal, flips = [], []
    for string, weight in zip(strings.operators, np.asarray(strings.weights), strict=True):
        if abs(weight.imag) > 1e-12:
            raise ValueError(f"term {weight} {string} is complex; the engine needs a real Hamiltonian")
        if weight == 0:
            continue
        flipped = tuple(i for i, letter in enumerate(string) if letter in "XY")
        signed = tuple(i for i, letter in enumerate(string) if letter in "ZY")
        if not flipped:
            diagonal.append((float(weight.real), signed))
        elif signed:
            raise ValueError(f"term {weight.real:g} {string} flips spins with a sign that depends on them")
        elif weight.real > 0:
            raise ValueError(f"term {weight.real:g} {string} is positive; ψ > 0 needs flips with c ≤ 0")
        else:
            flips.append((float(weight.real), flipped))
    return FlipForm(
        *_padded_terms(sorted(diagonal, key=lambda term: term[1]), sites),
        *_padded_terms(sorted(flips, key=lambda term: term[1]), sites),
    )


def _padded_terms(terms: list[tuple[float, tuple[int, ...]]], sites: int) -> tuple[np.ndarray, np.ndarray]:
    width = max((len(chosen) for _, chosen in terms), default=1) or 1
    padded = np.full((len(terms), width), sites, np.int32)
    for row, (_, chosen) in zip(padded, terms, strict=True):
        row[: len(chosen)] = chosen
    return np.array([coefficient for coefficient, _ in terms], float), padded


def diagonal_energies(form: FlipForm, spins: Array) -> Array:
    """d(s) for every chain: (chains,) from spins (sites, chains)."""
    padded = jnp.concatenate([spins, jnp.ones((1, spins.shape[1]), spins.dtype)])
    products = jnp.prod(padded[form.diagonal_sites], axis=1)
    return form.diagonal_coefficients.astype(spins.dtype) @ products
