"""Both branches through the transition along pruning levels: down without rewinding, and back up by regrowing."""

from nqs.config import FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Regrowth, Sweep

LEVELS = {4: 51, 5: 58, 6: 64}  # by side

sweep = Sweep(
    name="hysteresis",
    hamiltonians=[TransverseFieldIsing(side=L, field=field) for L in LEVELS for field in (1, 3.04438)],
    networks=[FeedForward(width_per_spin=8)],
    training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-4),
    methods=["imp_ct"],
    levels=LEVELS,
    pruning_ratio=0.12,
    replicates=3,
    # Beyond the transition at 2 to 4 weights per spin, and back to where errors no longer depend on the branch.
    regrowth=Regrowth(turns=[1.0], up_to=64),
    profiles={
        "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000),
        "laptop": Profile(
            hamiltonians=[TransverseFieldIsing(side=4, field=field) for field in (1, 3.04438)],
            networks=[FeedForward(width_per_spin=4)],
            levels=34,
            pretraining_steps=600,
            steps_per_level=60,
            regrowth=Regrowth(turns=[1.0], up_to=16),
        ),
        "tiny": Profile(
            hamiltonians=[TransverseFieldIsing(side=3, field=3.04438)],
            levels=3,
            replicates=1,
            samples=64,
            pretraining_steps=10,
            steps_per_level=5,
            regrowth=Regrowth(turns=[40]),
        ),
    },
)
