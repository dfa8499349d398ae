"""The square-lattice Ising model by Swendsen–Wang cluster updates: data with exactly known exponents.

T_c = 2 / ln(1 + √2), 1/ν = 1, β/ν = 1/8, γ/ν = 7/4 (Onsager 1944, Yang 1952).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

CRITICAL_TEMPERATURE = 2 / np.log(1 + np.sqrt(2))


def magnetisations(
    random: np.random.Generator, side: int, temperatures: np.ndarray, sweeps: int, equilibration: int
) -> np.ndarray:
    """(sweeps, chains) |m| per spin after each sweep, on periodic lattices, one chain a temperature.

    Swendsen and Wang, Phys. Rev. Lett. 58, 86 (1987): bonds between equal spins are kept with 1 − exp(−2/T), and
    each cluster of kept bonds gets a random sign. All chains are one graph, so that a sweep is one call.
    """
    chains, sites = len(temperatures), side * side
    spins = np.ones((chains, side, side), np.int8)
    kept = (1 - np.exp(-2 / np.asarray(temperatures)))[:, None, None]
    index = np.arange(spins.size, dtype=np.int32).reshape(spins.shape)
    neighbours = np.stack([np.roll(index, -1, axis=1), np.roll(index, -1, axis=2)], axis=-1)
    recorded = np.empty((sweeps, chains))
    for sweep in range(-equilibration, sweeps):
        same = spins[..., None] == spins.reshape(-1)[neighbours]
        bonds = same & (random.random(same.shape, np.float32) < kept[..., None])
        labels = _clusters(bonds.reshape(-1, 2), neighbours.reshape(-1, 2))
        signs = 2 * random.integers(0, 2, labels.max() + 1, np.int8) - 1
        spins = signs[labels].reshape(spins.shape)
        if sweep >= 0:
            recorded[sweep] = np.abs(spins.sum(axis=(1, 2), dtype=np.int64)) / sites
    return recorded


def _clusters(bonds: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """(sites,) cluster of each site, from bonds (sites, 2) to the neighbours."""
    ends = np.concatenate([[0], np.cumsum(bonds.sum(axis=1))]).astype(np.int32)
    ones = np.ones(ends[-1], np.int8)
    graph = csr_array((ones, neighbours[bonds], ends), shape=(len(bonds),) * 2)
    return connected_components(graph, directed=False)[1]


def magnetisation_points(
    random: np.random.Generator,
    sides: tuple[int, ...],
    positions: np.ndarray,
    chains: int,
    sweeps: int,
    equilibration: int = 30,
) -> pl.DataFrame:
    """Magnetisation, susceptibility and Binder ratio near the critical temperature, with errors over chains.

    Temperatures are 2.27 + position / side, so that each size has the same scaled window.

    Returns:
        side, temperature, magnetisation (⟨|m|⟩), susceptibility (L² (⟨m²⟩ − ⟨|m|⟩²) / T), binder
        (⟨m⁴⟩ / ⟨m²⟩²), each with `_error` (jackknife over the chains).
    """
    tables = []
    for side in sides:
        temperatures = 2.27 + positions / side
        values = magnetisations(random, side, np.repeat(temperatures, chains), sweeps, equilibration)
        moments = np.stack([(values**power).mean(axis=0) for power in (1, 2, 4)])
        moments = moments.reshape(3, len(positions), chains)
        left_out = (moments.sum(axis=2, keepdims=True) - moments) / (chains - 1)
        columns = {"side": [side] * len(positions), "temperature": temperatures}
        whole = _observables(moments.mean(axis=2), side, temperatures)
        without = _observables(left_out, side, temperatures[:, None])
        for name, value in whole.items():
            columns[name] = value
            columns[f"{name}_error"] = without[name].std(axis=1) * np.sqrt(chains - 1)
        tables.append(pl.DataFrame(columns))
    return pl.concat(tables)


def _observables(moments: np.ndarray, side: int, temperatures: np.ndarray) -> dict[str, np.ndarray]:
    first, second, fourth = moments
    return {
        "magnetisation": first,
        "susceptibility": side**2 * (second - first**2) / temperatures,
        "binder": fourth / second**2,
    }
