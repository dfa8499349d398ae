"""Both phases of the Ising model (Fig. 2b, c): where is the critical density away from the critical field?"""

from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep

FIELDS = [0.1, 1, 2, 3.04438, 4, 5, 6]

sweep = Sweep(
    name="fields",
    hamiltonians=[TransverseFieldIsing(side=10, field=field) for field in FIELDS],
    networks=[FeedForward(width_per_spin=5)],
    training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-4),
    methods=["imp_wr"],
    levels=65,
    pruning_ratio=0.12,
    replicates=3,
    profiles={
        "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000),
        "laptop": Profile(sides=[4], levels=34, replicates=2, pretraining_steps=1_000, steps_per_level=150),
        "tiny": Profile(
            sides=[3], levels=2, replicates=1, samples=64, pretraining_steps=10, steps_per_level=5
        ),
    },
)
