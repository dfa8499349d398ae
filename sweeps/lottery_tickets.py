"""Lottery tickets of three networks at the critical field (Fig. 1): does the mask or the initialisation matter?"""

from nqs.config import Convolutional, FeedForward, ResidualConvolutional, Training, TransverseFieldIsing
from orchestrator.plan import Profile, Sweep, Tickets

FIELD = 3.04438
VARIANTS = ["init_imp", "rand_imp", "init_rand"]


def part(network, shift, ratio, levels, tickets, laptop, tiny):
    return Sweep(
        name="lottery_tickets",
        hamiltonians=[TransverseFieldIsing(side=10, field=FIELD)],
        networks=[network],
        training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=shift),
        methods=["imp_wr"],
        levels=levels,
        pruning_ratio=ratio,
        replicates=3,
        tickets=Tickets(variants=VARIANTS, levels=tickets),
        profiles={
            "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000, ticket_steps=10_000),
            "laptop": laptop,
            "tiny": tiny,
        },
    )


def tiny(**changes):
    return Profile(
        sides=[3],
        levels=2,
        replicates=1,
        samples=64,
        pretraining_steps=10,
        steps_per_level=5,
        ticket_steps=5,
        tickets=Tickets(variants=VARIANTS, levels=[2]),
        **changes,
    )


sweep = [
    part(
        FeedForward(width_per_spin=5),
        shift=1e-4,
        ratio=0.12,
        levels=65,
        tickets=range(5, 66, 5),
        laptop=Profile(
            sides=[4],
            levels=36,
            replicates=2,
            pretraining_steps=1_000,
            steps_per_level=200,
            ticket_steps=1_000,
            tickets=Tickets(variants=VARIANTS, levels=[8, 14, 20, 24, 28, 32]),
        ),
        tiny=tiny(),
    ),
    part(
        Convolutional(kernels=4),
        shift=1e-3,
        ratio=0.05,
        levels=31,
        tickets=range(3, 32, 4),
        laptop=Profile(
            sides=[4],
            levels=24,
            replicates=2,
            pretraining_steps=1_500,
            steps_per_level=200,
            ticket_steps=1_000,
            tickets=Tickets(variants=VARIANTS, levels=[6, 12, 18, 22]),
        ),
        tiny=tiny(),
    ),
    part(
        ResidualConvolutional(blocks=4, filters=16),
        shift=1e-3,
        ratio=0.12,
        levels=43,
        tickets=range(4, 44, 4),
        # One block of four filters on 16 spins: what the general path trains in minutes.
        laptop=Profile(
            sides=[4],
            networks=[ResidualConvolutional(blocks=1, filters=4)],
            levels=8,
            pruning_ratio=0.3,
            replicates=1,
            samples=256,
            pretraining_steps=300,
            steps_per_level=60,
            ticket_steps=150,
            tickets=Tickets(variants=VARIANTS, levels=[6]),
        ),
        tiny=tiny(networks=[ResidualConvolutional(blocks=1, filters=2)]),
    ),
]
