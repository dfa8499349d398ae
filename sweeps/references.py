"""Reference energies of every lattice and field of the sweeps: exact where possible, else DMRG with an error."""

from nqs.config import ToricCode, TransverseFieldIsing
from orchestrator.plan import References, ReferenceScale

CRITICAL = 3.04438
FIELDS_OF_PHASE_DIAGRAM = [0.5, 1, 1.5, 2, 2.4, 2.7, 3.4, 3.8, 4.5, 5.2, 6]
# Bond dimensions at which the discarded weight is below what the error asks for, by side at the critical field
# and by field at 10 × 10: away from it the states are nearly products.
CRITICAL_BONDS = {3: 32, 4: 96, 5: 192, 6: 192, 7: 256, 8: 256, 9: 256, 10: 384}
FIELD_BONDS = {0.1: 96, 1: 96, 2: 192, 4: 192, 5: 128, 6: 128}


def part(hamiltonians, bond_dimension=None, odd_bond_dimension=None):
    sides = sorted({hamiltonian.side for hamiltonian in hamiltonians})
    profiles = {"paper": ReferenceScale()}
    if sides[-1] <= 5:
        profiles["laptop"] = ReferenceScale()
    # Exact ones alone, in seconds and without physics-tenpy.
    if sides[-1] <= 3 and bond_dimension is None:
        profiles["tiny"] = ReferenceScale()
    return References(
        name="references",
        hamiltonians=hamiltonians,
        bond_dimension=bond_dimension,
        odd_bond_dimension=odd_bond_dimension,
        profiles=profiles,
    )


def ising(sides, fields, boundary="open"):
    return [TransverseFieldIsing(side=L, field=field, boundary=boundary) for L in sides for field in fields]


exact = [
    part([ToricCode(side=L) for L in (2, 3)]),
    part([ToricCode(side=L) for L in (4, 6, 8)]),
    part(ising([3], [CRITICAL, 0.1, 4, 5, *FIELDS_OF_PHASE_DIAGRAM], "open")),
    part(ising([3], [CRITICAL, 1, 6], "periodic")),
    part(ising([4, 5], [CRITICAL, 1, 6], "periodic")),
    part(ising([4, 5], [0.1, 4, 5, *FIELDS_OF_PHASE_DIAGRAM], "open")),
]
critical = [
    part(ising([L], [CRITICAL]), bond, odd_bond_dimension=min(bond, 128) if L > 5 else bond)
    for L, bond in CRITICAL_BONDS.items()
]
fields = [
    part(ising([10], [field]), bond, odd_bond_dimension=min(bond, 128)) for field, bond in FIELD_BONDS.items()
]
phase_diagram = [part(ising([6], FIELDS_OF_PHASE_DIAGRAM), 128, odd_bond_dimension=96)]

sweep = exact + critical + fields + phase_diagram
