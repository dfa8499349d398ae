"""Reference energies as a slot computes them: one door to the exact methods and to DMRG."""

from __future__ import annotations

from nqs.tasks import ReferenceOutcome, ReferenceTask


def advance_reference(task: ReferenceTask, seconds: float) -> ReferenceOutcome:
    """Carry a reference energy on for about this long; an exact one is computed whole.

    Raises:
        ImportError: an optional package is missing.
    """
    if missing := task.job.missing_package:
        raise ImportError(missing)
    if task.job.method == "dmrg":
        from nqs import dmrg

        return dmrg.advance(task, seconds)
    from nqs.exact_diagonalization import reference_energy

    row = reference_energy(task.job.hamiltonian, task.job.parity)
    return ReferenceOutcome(1, row["energy"], row["energy_error"], row=row)
