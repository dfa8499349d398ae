"""Networks built of odd-parity filters (Table 1, Fig. 7): energy and variance against the magnitude of the weights."""

from nqs.config import Measurement, OddParity, ToricCode, Training
from orchestrator.plan import Profile, Sweep

MAGNITUDES = [round(0.1 * k, 1) for k in range(1, 17)]

sweep = Sweep(
    name="toric_exact",
    hamiltonians=[ToricCode(side=3)],
    networks=[OddParity(magnitude=a) for a in MAGNITUDES],
    training=Training(samples=1024),
    # Broken plaquettes come in pairs, rarely, and wander L² sweeps until they meet.
    measurement=Measurement(sweeps=40, equilibration_sweeps=400),
    profiles={
        "paper": Profile(pretraining_steps=0, sides=[2, 3, 4, 6, 8]),
        "laptop": Profile(pretraining_steps=0, sides=[2, 3, 8]),
        "tiny": Profile(pretraining_steps=0, sides=[2], samples=64),
    },
)
