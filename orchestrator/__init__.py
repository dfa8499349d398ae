"""Sweeps as data, their plan, the store, the executors and the command line."""
