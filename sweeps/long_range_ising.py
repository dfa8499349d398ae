"""Long-range Ising chains, a worked example of docs/hamiltonians.md: does the mask follow the couplings' range?"""

from itertools import combinations

from nqs.config import FeedForward, PauliTerms, Training
from orchestrator.plan import Profile, Sweep

EXPONENT = 2.0


def long_range_ising(sites, field):
    """H = −Σ_{i<j} |i − j|^(−2) σz σz − h Σ_i σx on an open chain."""
    pairs = combinations(range(sites), 2)
    couplings = [(-((j - i) ** -EXPONENT), f"Z{i} Z{j}") for i, j in pairs]
    fields = [(-field, f"X{i}") for i in range(sites)]
    return PauliTerms(name="long-range ising", sites=sites, side=sites, field=field, terms=couplings + fields)


FIELDS = [0.5, 1.0, 2.0, 4.0]

sweep = Sweep(
    name="long_range_ising",
    hamiltonians=[long_range_ising(16, field) for field in FIELDS],
    networks=[FeedForward(width_per_spin=8)],
    training=Training(samples=1024, learning_rate=8e-3, diagonal_shift=1e-4),
    methods=["imp_wr"],
    levels=45,
    pruning_ratio=0.12,
    replicates=3,
    profiles={
        "paper": Profile(pretraining_steps=10_000, steps_per_level=1_000),
        "laptop": Profile(
            hamiltonians=[long_range_ising(12, field) for field in FIELDS],
            networks=[FeedForward(width_per_spin=4)],
            levels=30,
            replicates=2,
            pretraining_steps=800,
            steps_per_level=100,
        ),
        "tiny": Profile(
            hamiltonians=[long_range_ising(6, 1.0)],
            networks=[FeedForward(width_per_spin=2)],
            levels=2,
            replicates=1,
            samples=64,
            pretraining_steps=10,
            steps_per_level=5,
        ),
    },
)
