"""Field × density: the energies and magnetisations of pruned networks across the transition, at several sizes."""

from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep

FIELDS = [0.5, 1, 1.5, 2, 2.4, 2.7, 3.04438, 3.4, 3.8, 4.5, 5.2, 6]
LEVELS = {4: 51, 5: 58, 6: 64}  # by side

sweep = Sweep(
    name="phase_diagram",
    hamiltonians=[TransverseFieldIsing(side=L, field=field) for L in LEVELS for field in FIELDS],
    networks=[FeedForward(width_per_spin=8)],
    training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-4),
    methods=["imp_wr"],
    levels=LEVELS,
    pruning_ratio=0.12,
    replicates=3,
    profiles={
        "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000),
        "laptop": Profile(
            hamiltonians=[TransverseFieldIsing(side=3, field=field) for field in FIELDS],
            levels=34,
            replicates=3,
            pretraining_steps=600,
            steps_per_level=100,
        ),
        "tiny": Profile(
            hamiltonians=[TransverseFieldIsing(side=3, field=field) for field in (1, 4)],
            levels=2,
            replicates=1,
            samples=64,
            pretraining_steps=10,
            steps_per_level=5,
        ),
    },
)
