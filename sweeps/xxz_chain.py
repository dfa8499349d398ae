"""XXZ rings, a worked example of docs/hamiltonians.md: s-dependent flips, chains that conserve Σσz."""

from nqs.config import FeedForward, PauliTerms, Training
from orchestrator.plan import Profile, Sweep, Tickets


def xxz_ring(sites, anisotropy):
    """H = Σ_i −σx σx − σy σy + Δ σz σz on a ring: after Marshall's rotation of every second spin."""
    bonds = [(i, (i + 1) % sites) for i in range(sites)]
    letters = {"X": -1.0, "Y": -1.0, "Z": anisotropy}
    return PauliTerms(
        name="xxz ring",
        sites=sites,
        side=sites,
        field=anisotropy,
        boundary="periodic",
        terms=[(c, f"{letter}{i} {letter}{j}") for i, j in bonds for letter, c in letters.items()],
    )


ANISOTROPIES = [0.5, 1.0, 1.5]

sweep = Sweep(
    name="xxz_chain",
    hamiltonians=[xxz_ring(16, anisotropy) for anisotropy in ANISOTROPIES],
    networks=[FeedForward(width_per_spin=8)],
    training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-3),
    methods=["imp_wr"],
    levels=40,
    pruning_ratio=0.12,
    replicates=3,
    tickets=Tickets(variants=["init_imp", "init_rand"], weights_per_spin=[32, 16, 8, 4]),
    profiles={
        "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000),
        "laptop": Profile(
            hamiltonians=[xxz_ring(12, anisotropy) for anisotropy in ANISOTROPIES],
            networks=[FeedForward(width_per_spin=4)],
            levels=28,
            replicates=2,
            pretraining_steps=1_000,
            steps_per_level=150,
            ticket_steps=600,
            tickets=Tickets(variants=["init_imp", "init_rand"], weights_per_spin=[16, 8]),
        ),
        "tiny": Profile(
            hamiltonians=[xxz_ring(6, 1.0)],
            networks=[FeedForward(width_per_spin=2)],
            levels=2,
            replicates=1,
            samples=64,
            pretraining_steps=10,
            steps_per_level=5,
            ticket_steps=5,
            tickets=Tickets(variants=["init_imp"], levels=[2]),
        ),
    },
)
