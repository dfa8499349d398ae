"""Hamiltonians in flip form.

H = d(s) + Σ_k c_k(s) X_{F_k}: a diagonal that is a sum of products of few s_i, and terms that flip the set
F_k of spins, with a coefficient that may depend on spins: ⟨s| H |X_{F_k} s⟩ = c_k(s). The engine needs
c_k(s) ≤ 0, so that the ground state can be real and positive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nqs.config import Hamiltonian, PauliTerms, ToricCode
from nqs.lattices import site_grid

if TYPE_CHECKING:
    # Made by numpy, so that a driver can check a Hamiltonian without jax; on a device they are jax's.
    from jax import Array

# Spins that a flip's coefficient may depend on: its sign is checked on all their configurations.
MOST_SIGN_SITES = 12
# Coefficients below this, in the operator's units, are rounding.
_ROUNDING = 1e-12


class FlipForm(NamedTuple):
    """A Hamiltonian as data; site lists are padded with the index `sites`, a spin that is always +1.

    The coefficient of flip k at the spins s is c_k(s) = c_k + Σ_t b_kt Π_{i ∈ S_kt} s_i; with 0 terms t
    nothing is computed for them.

    Attributes:
        diagonal_coefficients: (terms,) float64, units of J.
        diagonal_sites: (terms, order) int32, the spins multiplied in each diagonal term.
        flip_coefficients: (flips,) float64, c_k.
        flip_sites: (flips, width) int32, the spins that X_{F_k} flips.
        sign_coefficients: (flips, terms) float64, b_kt.
        sign_sites: (flips, terms, order) int32, S_kt.
    """

    diagonal_coefficients: Array
    diagonal_sites: Array
    flip_coefficients: Array
    flip_sites: Array
    sign_coefficients: Array
    sign_sites: Array


def constant_form(
    diagonal_coefficients: Array, diagonal_sites: Array, flip_coefficients: Array, flip_sites: Array
) -> FlipForm:
    """The flip form whose flips have constant coefficients; arguments as in `FlipForm`."""
    flips = len(flip_coefficients)
    return FlipForm(
        diagonal_coefficients,
        diagonal_sites,
        flip_coefficients,
        flip_sites,
        np.zeros((flips, 0)),
        np.zeros((flips, 0, 1), np.int32),
    )


def flip_form(hamiltonian: Hamiltonian) -> FlipForm:
    """The flip form of a Hamiltonian of the config.

    Not by way of NetKet, whose import and Pauli strings take a slot 0.3 GiB and seconds at its start.

    Raises:
        ValueError: given by its Pauli strings, and these do not fit the engine; see `form_of_strings`.
    """
    if isinstance(hamiltonian, ToricCode):
        # Here, since that module takes the flip form from this one.
        from nqs.toric_code import toric_code_form

        return toric_code_form(hamiltonian.side)
    if isinstance(hamiltonian, PauliTerms):
        return form_of_terms(hamiltonian.terms, hamiltonian.sites)
    bonds = lattice_bonds(hamiltonian.side, hamiltonian.boundary)
    sites = np.arange(hamiltonian.sites, dtype=np.int32)[:, None]
    return constant_form(
        np.full(len(bonds), -hamiltonian.coupling), bonds, np.full(len(sites), -hamiltonian.field), sites
    )


def string_of(named: str, sites: int) -> str:
    """The Pauli string "ZIZ" of a term such as "Z0 Z2"."""
    letters = ["I"] * sites
    for letter in named.split():
        letters[int(letter[1:])] = letter[0]
    return "".join(letters)


def form_of_terms(terms: Iterable[tuple[float, str]], sites: int) -> FlipForm:
    """The flip form of Pauli terms such as (-1.0, "Z0 Z1"); equal strings add up.

    Raises:
        ValueError: they do not fit the engine; see `form_of_strings`.
    """
    strings: dict[str, complex] = defaultdict(complex)
    for coefficient, named in terms:
        strings[string_of(named, sites)] += coefficient
    return form_of_strings({string: c for string, c in strings.items() if c}, sites)


def lattice_bonds(side: int, boundary: str) -> np.ndarray:
    """Nearest neighbours (bonds, 2) int32 of the square lattice, each pair once, ascending.

    Args:
        boundary: "open" or "periodic"; a periodic side of 2 has each of its four bonds once.
    """
    sites = site_grid(side)
    pairs = [(sites[:-1], sites[1:]), (sites[:, :-1], sites[:, 1:])]
    if boundary == "periodic":
        pairs += [(sites[-1], sites[0]), (sites[:, -1], sites[:, 0])]
    ends = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])
    return np.unique(np.sort(ends, axis=1), axis=0).astype(np.int32)


# Of one flip: the spins whose product a term has, and the term's coefficient.
_Terms = dict[tuple[int, ...], float]


def form_of_strings(strings: dict[str, complex], sites: int) -> FlipForm:
    """The flip form of Pauli strings such as "ZZI", each with its weight.

    A string of letters X and Y flips its sites; its letters Z, and with (−1)^(n/2) its n letters Y, are the
    spins that its sign depends on. Strings with the same flips add up to one coefficient.

    Raises:
        ValueError: a flip has a complex or somewhere positive coefficient, or one that depends on more than
            MOST_SIGN_SITES spins; the sentence names the Pauli strings.
    """
    diagonal: dict[tuple[int, ...], float] = {}
    flips: dict[tuple[int, ...], _Terms] = defaultdict(dict)
    for string, weight in strings.items():
        weight = complex(weight)
        flipped, signed, turned = (
            tuple(i for i, letter in enumerate(string) if letter in letters) for letters in ("XY", "ZY", "Y")
        )
        if abs(weight.imag) > _ROUNDING or len(turned) % 2:
            raise ValueError(f"{_readable(string, weight)} is complex; the engine needs a real Hamiltonian")
        # ⟨s| Y |−s⟩ = −i s: two of them are minus the product of their spins.
        coefficient = (-1) ** (len(turned) // 2) * weight.real
        (flips[flipped] if flipped else diagonal)[signed] = coefficient
    for flipped, terms in flips.items():
        _check_not_positive(flipped, terms)
    own = [flips[flipped] for flipped in sorted(flips)]
    return FlipForm(
        np.array([diagonal[signed] for signed in sorted(diagonal)], float),
        padded_sets(sorted(diagonal), sites),
        np.array([terms.get((), 0) for terms in own], float),
        padded_sets(sorted(flips), sites),
        *padded_signs([sorted((signed, b) for signed, b in terms.items() if signed) for terms in own], sites),
    )


def _readable(string: str, weight: complex) -> str:
    """For example `+1 X0 X1`."""
    number = f"{weight.real:+g}" if abs(weight.imag) <= _ROUNDING else f"+({weight:g})"
    return " ".join([number, *(f"{letter}{i}" for i, letter in enumerate(string) if letter != "I")])


def _check_not_positive(flipped: tuple[int, ...], terms: _Terms) -> None:
    """Raise ValueError where the coefficient of a flip is positive at some spins, or depends on too many."""
    support = sorted({site for signed in terms for site in signed})
    named = " ".join(_readable_term(flipped, signed, b) for signed, b in sorted(terms.items()))
    if len(support) > MOST_SIGN_SITES:
        raise ValueError(
            f"{named} has a sign that depends on {len(support)} spins; at most {MOST_SIGN_SITES} are possible"
        )
    bits = np.arange(1 << len(support)) >> np.arange(len(support))[:, None] & 1
    spins = dict(zip(support, 1.0 - 2 * bits, strict=True))
    values = sum(
        b * np.prod([spins[i] for i in signed], axis=0, initial=1.0) * np.ones(bits.shape[1])
        for signed, b in terms.items()
    )
    # A sum of large coefficients is 0 only up to its rounding.
    rounding = _ROUNDING * max(1.0, sum(map(abs, terms.values())))
    if values.max() <= rounding:
        return
    sentence = f"{named} is positive, up to {values.max():+g}; ψ > 0 needs flips with c(s) ≤ 0"
    if len(flipped) == 2 and values.min() >= -rounding:
        sentence += (
            "; on a bipartite lattice a rotation of one sublattice (Marshall) turns the sign of its bonds:"
            " marshall_rotated(operator, sublattice)"
        )
    raise ValueError(sentence)


def _readable_term(flipped: tuple[int, ...], signed: tuple[int, ...], coefficient: float) -> str:
    """The Pauli string that a term of a flip was."""
    letters = {**dict.fromkeys(flipped, "X"), **{i: "Y" if i in flipped else "Z" for i in signed}}
    string = "".join(letters.get(i, "I") for i in range(max(letters) + 1))
    return _readable(string, (-1) ** (string.count("Y") // 2) * coefficient)


def padded_sets(chosen: Sequence[tuple[int, ...]], sites: int) -> np.ndarray:
    """(sets, width) int32, width ≥ 1, from sets of sites; padded at the end with the index `sites`."""
    padded = np.full((len(chosen), max(map(len, chosen), default=1) or 1), sites, np.int32)
    for row, own in zip(padded, chosen, strict=True):
        row[: len(own)] = own
    return padded


def unpadded_sets(padded: Array, sites: int) -> list[tuple[int, ...]]:
    """The sets of sites that a padded array has in its last axis, with its other axes as one."""
    rows = np.asarray(padded).reshape(-1, np.shape(padded)[-1])
    return [tuple(site for site in row if site < sites) for row in rows.tolist()]


def padded_signs(
    terms: Sequence[Sequence[tuple[tuple[int, ...], float]]], sites: int
) -> tuple[np.ndarray, np.ndarray]:
    """`sign_coefficients` and `sign_sites` of a form from each flip's (sites, coefficient)."""
    count = max(map(len, terms), default=0)
    coefficients = np.zeros((len(terms), count))
    padding = [[((), 0.0)] * (count - len(own)) for own in terms]
    filled = [[*own, *rest] for own, rest in zip(terms, padding, strict=True)]
    for row, own in zip(coefficients, filled, strict=True):
        row[:] = [coefficient for _, coefficient in own]
    chosen = padded_sets([signed for own in filled for signed, _ in own], sites)
    return coefficients, chosen.reshape(len(terms), count, chosen.shape[1])


def conserves_magnetization(form: FlipForm, sites: int) -> bool:
    """Whether H keeps Σσz: every flip has two spins and coefficient 0 wherever they are equal."""
    rows = zip(
        unpadded_sets(form.flip_sites, sites),
        np.asarray(form.flip_coefficients),
        np.asarray(form.sign_coefficients),
        np.asarray(form.sign_sites),
        strict=True,
    )
    return all(
        len(flipped) == 2 and _vanishes_on_equal_spins(flipped, constant, signs, unpadded_sets(chosen, sites))
        for flipped, constant, signs, chosen in rows
    )


def _vanishes_on_equal_spins(flipped: tuple[int, int], constant: float, signs, chosen) -> bool:
    left, right = flipped
    sums = defaultdict(float, {frozenset(): float(constant)})
    for coefficient, signed in zip(signs, chosen, strict=True):
        # With s_right = s_left, the product of both is 1; what is left are independent products.
        own = frozenset(signed)
        sums[own ^ {left, right} if right in own else own] += coefficient
    return all(abs(total) <= _ROUNDING for total in sums.values())
