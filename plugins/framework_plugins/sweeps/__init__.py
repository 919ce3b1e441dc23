"""Sweeps that search for the best trial: `hydra/sweeper=optuna5`."""
