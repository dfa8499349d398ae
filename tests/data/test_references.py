"""The shipped reference energies: cheap rows made anew, one expensive one at a low bond dimension, errors that cover."""

import importlib.util
import json

import polars as pl
import pytest

from nqs.config import ReferenceJob, ToricCode, TransverseFieldIsing
from nqs.extrapolation import POINTS, extrapolated_energy
from nqs.references import advance_reference
from nqs.tasks import ReferenceTask
from orchestrator.store import REPOSITORY_REFERENCES
from orchestrator.tables import REFERENCES

TABLE = pl.read_parquet(REPOSITORY_REFERENCES)
SERIES = ["hamiltonian_parameters", "parity"]


def hamiltonian_of(row: dict):
    kind = {"tfim": TransverseFieldIsing, "toric_code": ToricCode}[row["hamiltonian"]]
    parameters = json.loads(row["hamiltonian_parameters"])
    return kind(**parameters | {"side": int(parameters["side"])})


def rows(**choices) -> list[dict]:
    return TABLE.filter(**choices).to_dicts()


def test_the_table_has_the_documented_columns_and_no_row_twice():
    assert TABLE.columns == REFERENCES.names
    assert not TABLE.select(REFERENCES.key).is_duplicated().any()
    assert TABLE["provenance"].null_count() == 0
    assert TABLE.filter(pl.col("method") != "exact")["seconds"].null_count() == 0


def test_exact_rows_on_small_lattices_are_made_anew():
    exact = [row for row in rows() if row["method"] != "dmrg"]
    # Each row of sixteen sites is a compilation.
    cheap = [row for row in exact if row["side"] <= 3] + [row for row in exact if row["side"] == 4][::8]
    assert len(cheap) > 36
    for row in cheap:
        job = ReferenceJob(hamiltonian=hamiltonian_of(row), method=row["method"], parity=row["parity"])
        again = advance_reference(ReferenceTask(job), 60.0).row
        assert again["hamiltonian_parameters"] == row["hamiltonian_parameters"]
        assert again["energy"] == pytest.approx(row["energy"], rel=1e-10)


@pytest.mark.skipif(
    importlib.util.find_spec("tenpy") is None,
    reason="physics-tenpy, the extra `references`, is not installed",
)
@pytest.mark.filterwarnings("ignore")
def test_six_by_six_at_the_critical_field_is_made_anew_at_the_lowest_bond_dimension():
    critical = TransverseFieldIsing(side=6, field=3.04438)
    key = {"hamiltonian_parameters": critical.parameters_json, "parity": "even", "bond_dimension": 32}
    (row,) = rows(**key)
    job = ReferenceJob(hamiltonian=critical, method="dmrg")
    again = advance_reference(ReferenceTask(job), 600.0).row
    # Another machine rounds differently, and sweeps end at changes of 1e-6.
    assert again["energy"] == pytest.approx(row["energy"], rel=1e-6)
    assert again["truncation_error"] == pytest.approx(row["truncation_error"], rel=0.05)


def test_dmrg_equals_exact_diagonalisation_where_both_are_known():
    exact = {(r["hamiltonian_parameters"], r["parity"]): r["energy"] for r in rows(method="ed")}
    extrapolated = [r for r in rows(method="dmrg") if r["bond_dimension"] is None and r["side"] <= 5]
    known = [r for r in extrapolated if tuple(r[name] for name in SERIES) in exact]
    assert known
    for row in known:
        energy = exact[row["hamiltonian_parameters"], row["parity"]]
        assert abs(row["energy"] - energy) <= row["energy_error"]


@pytest.mark.parametrize("side", [3, 4, 5])
@pytest.mark.parametrize("parity", ["even", "odd"])
def test_at_the_critical_field_the_largest_bond_dimension_is_exact_to_a_billionth(side, parity):
    of_lattice = {"side": side, "boundary": "open", "field": 3.04438, "parity": parity}
    (exact,) = rows(method="ed", **of_lattice)
    largest = max(rows(method="dmrg", **of_lattice), key=lambda row: row["bond_dimension"] or 0)
    assert abs(largest["energy"] - exact["energy"]) < 1e-9


def test_errors_of_shortened_series_cover_the_exact_or_the_best_energy():
    """What a series says at every bond dimension; docs/references.md tells which of these cases made the rule."""
    exact = {(r["hamiltonian_parameters"], r["parity"]): r["energy"] for r in rows(method="ed")}
    single = TABLE.filter((pl.col("method") == "dmrg") & pl.col("bond_dimension").is_not_null())
    cases = 0
    for key, series in single.sort("bond_dimension").group_by(SERIES, maintain_order=True):
        weights, energies = series["truncation_error"].to_list(), series["energy"].to_list()
        for points in range(POINTS, len(energies) + (key in exact)):
            energy, error = extrapolated_energy(weights[:points], energies[:points])
            best = exact.get(key, energies[-1])
            assert abs(energy - best) <= error, (key, points)
            cases += 1
    assert cases >= 10


def test_no_variational_energy_lies_below_an_exact_one():
    exact = {(r["hamiltonian_parameters"], r["parity"]): r["energy"] for r in rows(method="ed")}
    for row in rows(method="dmrg"):
        if row["bond_dimension"] is not None:
            bound = exact.get((row["hamiltonian_parameters"], row["parity"]), float("-inf"))
            assert row["energy"] >= bound - 1e-10 * abs(row["energy"])
