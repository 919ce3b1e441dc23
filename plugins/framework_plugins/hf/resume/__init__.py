"""Checkpoints, and the state of a training in them."""
