"""What every test needs: float64 before jax makes its first array, and one CPU device."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_enable_x64", True)
