"""Finite-size scaling at the critical field (Fig. 3): do curves in n_r / N fall together?"""

from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep, Tickets

LEVELS = {4: 51, 5: 58, 6: 64, 7: 69, 8: 65, 9: 74, 10: 74}  # by side
VARIANTS = ["init_imp", "rand_imp", "init_rand"]

sweep = Sweep(
    name="finite_size",
    hamiltonians=[TransverseFieldIsing(side=L, field=3.04438) for L in LEVELS],
    networks=[FeedForward(width_per_spin=8)],
    training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-4),
    methods=["imp_wr"],
    levels=LEVELS,
    pruning_ratio=0.12,
    replicates=3,
    tickets=Tickets(variants=VARIANTS, weights_per_spin=[512, 256, 128, 64, 32, 16, 12, 9, 6, 4, 2, 1]),
    profiles={
        "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000, ticket_steps=10_000),
        "laptop": Profile(
            sides=[3, 4, 5],
            levels={3: 34, 4: 38, 5: 42},
            replicates=2,
            pretraining_steps=600,
            steps_per_level=100,
            ticket_steps=400,
            tickets=Tickets(variants=VARIANTS, weights_per_spin=[20, 15, 12, 9, 6, 3], replicates=2),
        ),
        "tiny": Profile(
            sides=[3],
            levels=2,
            replicates=1,
            samples=64,
            pretraining_steps=20,
            steps_per_level=10,
            ticket_steps=10,
            tickets=Tickets(variants=VARIANTS, levels=[2]),
        ),
    },
)
