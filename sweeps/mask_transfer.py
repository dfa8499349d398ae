"""Masks found at one field and trained at another: is connectivity a property of the phase or of the lattice?"""

from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep, Tickets

FIELDS = [1, 2, 3.04438, 3.8, 6]
VARIANTS = ["init_imp", "rand_imp", "init_rand"]


def tickets(*weights_per_spin):
    return Tickets(variants=VARIANTS, weights_per_spin=weights_per_spin, transfer=True)


sweep = Sweep(
    name="mask_transfer",
    hamiltonians=[TransverseFieldIsing(side=6, field=field) for field in FIELDS],
    networks=[FeedForward(width_per_spin=8)],
    training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-4),
    methods=["imp_wr"],
    levels=60,
    pruning_ratio=0.12,
    replicates=3,
    tickets=tickets(4, 8, 16),
    profiles={
        "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000),
        "laptop": Profile(
            sides=[4],
            levels=26,
            pretraining_steps=1_000,
            steps_per_level=200,
            tickets=tickets(5, 10),
        ),
        "tiny": Profile(
            hamiltonians=[TransverseFieldIsing(side=3, field=field) for field in (1, 4)],
            levels=2,
            replicates=1,
            samples=64,
            pretraining_steps=10,
            steps_per_level=5,
            tickets=Tickets(variants=VARIANTS, levels=[2], transfer=True),
        ),
    },
)
