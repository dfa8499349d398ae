"""The toric code (Fig. 4): at what density does a trained network become the exact solution?"""

from nqs.config import FeedForward, ToricCode, Training
from orchestrator.plan import Profile, Sweep, Tickets

WIDTHS = {4: 47, 8: 53, 16: 58, 32: 64}  # levels of each
VARIANTS = ["init_imp", "rand_imp", "init_rand"]

LAPTOP = {
    4: Profile(
        levels=30,
        replicates=5,
        pretraining_steps=1_500,
        steps_per_level=150,
        ticket_steps=800,
        tickets=Tickets(variants=VARIANTS, weights_per_spin=[32, 20, 12]),
    ),
    8: Profile(levels=36, replicates=2, pretraining_steps=1_500, steps_per_level=150),
}
TINY = Profile(
    sides=[2],
    levels=2,
    replicates=1,
    samples=64,
    pretraining_steps=10,
    steps_per_level=5,
    ticket_steps=5,
    tickets=Tickets(variants=VARIANTS, levels=[2]),
)


def profiles(width):
    chosen = {
        "paper": Profile(
            pretraining_steps=10_000,
            steps_per_level=1_000,
            ticket_steps=10_000,
            tickets=Tickets(variants=VARIANTS, weights_per_spin=[64, 32, 24, 20, 16, 14, 12, 8, 4]),
        )
    }
    if width in LAPTOP:
        chosen["laptop"] = LAPTOP[width]
    if width == 4:
        chosen["tiny"] = TINY
    return chosen


sweep = [
    Sweep(
        name="toric_code",
        hamiltonians=[ToricCode(side=3)],
        networks=[FeedForward(width_per_spin=width)],
        training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-3),
        methods=["imp_wr"],
        levels=levels,
        pruning_ratio=0.12,
        replicates=5,
        profiles=profiles(width),
    )
    for width, levels in WIDTHS.items()
]
