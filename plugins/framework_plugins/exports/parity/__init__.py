"""Proof that what was exported is what was trained: the same tokens through both, position by position."""
