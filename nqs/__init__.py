"""The science: Hamiltonians, networks, sampling, stochastic reconfiguration, pruning, observables."""
