"""Table 2: more tickets of each variant at chosen levels, for intervals."""

from nqs.config import FeedForward, ToricCode, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep, Tickets

VARIANTS = ["init_imp", "rand_imp", "init_rand"]


def part(hamiltonian, width, shift, levels, weights_per_spin, laptop):
    return Sweep(
        name="robustness",
        hamiltonians=[hamiltonian],
        networks=[FeedForward(width_per_spin=width)],
        training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=shift),
        methods=["imp_wr"],
        levels=levels,
        pruning_ratio=0.12,
        replicates=2,
        tickets=Tickets(variants=VARIANTS, weights_per_spin=weights_per_spin, replicates=6),
        profiles={
            "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000, ticket_steps=10_000),
            "laptop": laptop,
            "tiny": Profile(
                sides=[2],
                levels=2,
                replicates=1,
                samples=64,
                pretraining_steps=10,
                steps_per_level=5,
                ticket_steps=5,
                tickets=Tickets(variants=VARIANTS, levels=[2], replicates=2),
            ),
        },
    )


sweep = [
    part(
        TransverseFieldIsing(side=10, field=3.04438),
        width=5,
        shift=1e-4,
        levels=65,
        weights_per_spin=[100, 32, 16, 8],
        laptop=Profile(
            sides=[4],
            levels=20,
            pretraining_steps=800,
            steps_per_level=100,
            ticket_steps=600,
            tickets=Tickets(variants=VARIANTS, weights_per_spin=[20, 10], replicates=6),
        ),
    ),
    part(
        ToricCode(side=3),
        width=4,
        shift=1e-3,
        levels=47,
        weights_per_spin=[32, 20, 16],
        laptop=Profile(
            levels=12,
            replicates=1,
            pretraining_steps=1_000,
            steps_per_level=150,
            ticket_steps=800,
            tickets=Tickets(variants=VARIANTS, weights_per_spin=[20], replicates=6),
        ),
    ),
]
