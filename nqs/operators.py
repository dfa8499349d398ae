"""Hamiltonians as NetKet's operators, and NetKet's operators as Hamiltonians of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import ValidationError

from nqs.config import Hamiltonian, PauliTerms, ToricCode, TransverseFieldIsing
from nqs.hamiltonians import FlipForm, conserves_magnetization, flip_form, form_of_strings, string_of
from nqs.toric_code import plaquettes, stars


def netket_graph(hamiltonian: TransverseFieldIsing):
    """The lattice as NetKet's graph; site x·L + y sits at column x, row y."""
    import netket as nk

    return nk.graph.Grid([hamiltonian.side] * 2, pbc=hamiltonian.boundary == "periodic")


def netket_hilbert(hamiltonian: Hamiltonian):
    """NetKet's space of the spins; of Σσz = 0 alone where the Hamiltonian conserves it."""
    import netket as nk

    sites = hamiltonian.sites
    if conserves_magnetization(flip_form(hamiltonian), sites):
        return nk.hilbert.Spin(0.5, sites, total_sz=0)
    return nk.hilbert.Spin(0.5, sites)


def netket_operator(hamiltonian: Hamiltonian):
    """The Hamiltonian as NetKet's operator on `netket_hilbert`: for work in NetKet, and the tests' oracle."""
    import netket as nk

    hilbert = netket_hilbert(hamiltonian)
    if isinstance(hamiltonian, TransverseFieldIsing):
        # NetKet's Ising has +J Σ σz σz; the paper's ferromagnet is J = −1 there.
        graph = netket_graph(hamiltonian)
        return nk.operator.Ising(hilbert, graph, h=hamiltonian.field, J=-hamiltonian.coupling)
    if isinstance(hamiltonian, ToricCode):
        side = hamiltonian.side
        terms = [("X", edges, -1.0) for edges in stars(side)] + [
            ("Z", edges, -1.0) for edges in plaquettes(side)
        ]
        terms = [(weight, " ".join(f"{letter}{i}" for i in edges)) for letter, edges, weight in terms]
    else:
        terms = hamiltonian.terms
    strings = [string_of(named, hamiltonian.sites) for _, named in terms]
    return nk.operator.PauliStringsJax(hilbert, strings, [weight for weight, _ in terms])


def compile_flip_form(operator) -> FlipForm:
    """The flip form of any NetKet operator of spins 1/2 that is real and has c_k(s) ≤ 0 everywhere.

    Raises:
        ValueError: the operator has no Pauli strings, or a flip a complex or somewhere positive coefficient
            or one that depends on more than MOST_SIGN_SITES spins; the sentence names the Pauli strings.
    """
    return form_of_strings(_pauli_strings(operator), operator.hilbert.size)


def pauli_terms(
    operator,
    name: str,
    side: int | None = None,
    field: float | None = None,
    boundary: Literal["open", "periodic"] = "open",
) -> PauliTerms:
    """Any NetKet operator of spins 1/2 as a Hamiltonian of a sweep.

    Args:
        name: what tables and charts call it.
        side: linear size L; None: the number of spins.
        field: the strength that a phase diagram has on an axis, if any.
        boundary: of the lattice; the terms do not say whether correlations go around.

    Raises:
        ValueError: it does not fit the engine, see `nqs.hamiltonians.form_of_strings`, or a field of `PauliTerms`.
    """
    compile_flip_form(operator)
    terms = [
        (weight.real, " ".join(f"{letter}{i}" for i, letter in enumerate(string) if letter != "I"))
        for string, weight in sorted(_pauli_strings(operator).items())
    ]
    sites = operator.hilbert.size
    side = sites if side is None else side
    try:
        return PauliTerms(name=name, sites=sites, side=side, field=field, boundary=boundary, terms=terms)
    except ValidationError as error:
        raise ValueError("; ".join(map(_sentence, error.errors(include_url=False)))) from None


def _sentence(problem) -> str:
    """One problem that pydantic found, without its lines of type and input."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    field, allowed = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Input should be ")
    return f"{field} is {problem['input']!r}; allowed: {allowed}"


def marshall_rotated(operator, sublattice: Sequence[int]):
    """The operator after a rotation by π about z of some sites: their letters X and Y change sign.

    The spectrum stays; on a bipartite lattice, rotated on one sublattice, an antiferromagnet's flips become
    negative.

    Returns:
        NetKet's PauliStringsJax.

    Raises:
        ValueError: the operator has no Pauli strings, or the sublattice a site that is not there.
    """
    import netket as nk

    strings, sites = _pauli_strings(operator), operator.hilbert.size
    if outside := [site for site in sublattice if not 0 <= site < sites]:
        raise ValueError(f"sublattice has the sites {outside}; the sites are 0 to {sites - 1}")
    weights = [
        (-1) ** sum(string[site] in "XY" for site in sublattice) * weight
        for string, weight in strings.items()
    ]
    if not np.iscomplex(weights).any():
        weights = np.real(weights)
    return nk.operator.PauliStringsJax(operator.hilbert, list(strings), weights)


def _pauli_strings(operator) -> dict[str, complex]:
    """The operator's Pauli strings; NetKet lists each once, and none whose weights cancel."""
    import netket as nk

    name, strings = type(operator).__name__, operator
    if set(operator.hilbert.shape) != {2}:
        raise ValueError(f"{name} acts on {operator.hilbert}; the engine has spins 1/2")
    if not isinstance(operator, (nk.operator.PauliStringsNumba, nk.operator.PauliStringsJax)):
        if hasattr(strings, "to_local_operator"):
            strings = strings.to_local_operator()
        if not hasattr(strings, "to_pauli_strings"):
            raise ValueError(f"{name} has no Pauli strings; give it as a LocalOperator or PauliStrings")
        strings = strings.to_pauli_strings()
    return dict(zip(map(str, strings.operators), np.asarray(strings.weights).tolist(), strict=True))
