"""Presets that the plugin adds to the Hydra tree."""
