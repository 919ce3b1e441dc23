"""Sweeps that look for the best point: `hydra/sweeper=optuna5`."""
