"""Presets and experiments, read by Hydra."""
