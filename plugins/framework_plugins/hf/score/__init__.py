"""Validation loss, log-probabilities of rows, and the divergence from the base."""
