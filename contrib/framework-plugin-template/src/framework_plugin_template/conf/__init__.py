"""Presets, read by Hydra. It finds them here only where this file is."""
