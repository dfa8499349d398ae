"""Magnitude pruning with and without rewinding, and random pruning (Fig. 5), of two networks."""

from nqs.config import Convolutional, FeedForward, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep

METHODS = ["imp_wr", "imp_ct", "irp_wr"]


def part(network, shift, ratio, levels, laptop_levels):
    return Sweep(
        name="pruning_methods",
        hamiltonians=[TransverseFieldIsing(side=10, field=3.04438)],
        networks=[network],
        training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=shift),
        methods=METHODS,
        levels=levels,
        pruning_ratio=ratio,
        replicates=3,
        profiles={
            "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000),
            "laptop": Profile(
                sides=[4], levels=laptop_levels, replicates=2, pretraining_steps=1_000, steps_per_level=150
            ),
            "tiny": Profile(
                sides=[3], levels=2, replicates=1, samples=64, pretraining_steps=10, steps_per_level=5
            ),
        },
    )


sweep = [
    part(FeedForward(width_per_spin=5), shift=1e-4, ratio=0.12, levels=65, laptop_levels=34),
    part(Convolutional(kernels=4), shift=1e-3, ratio=0.05, levels=31, laptop_levels=24),
]
