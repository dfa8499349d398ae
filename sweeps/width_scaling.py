"""Three widths at the critical field (Fig. 2a): is the critical number of weights one of the width?"""

from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep

WIDTHS = {1: 54, 2.5: 60, 5: 65}  # levels of each

sweep = [
    Sweep(
        name="width_scaling",
        hamiltonians=[TransverseFieldIsing(side=10, field=3.04438)],
        networks=[FeedForward(width_per_spin=width)],
        training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-4),
        methods=["imp_wr"],
        levels=levels,
        pruning_ratio=0.12,
        replicates=3,
        profiles={
            "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000),
            "laptop": Profile(
                sides=[4], levels=levels - 32, replicates=2, pretraining_steps=1_000, steps_per_level=200
            ),
            "tiny": Profile(
                sides=[2], levels=2, replicates=1, samples=64, pretraining_steps=10, steps_per_level=5
            ),
        },
    )
    for width, levels in WIDTHS.items()
]
