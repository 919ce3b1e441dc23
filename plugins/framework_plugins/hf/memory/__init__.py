"""Retries after an out-of-memory error: the pass is dropped, something is made smaller, and the work is repeated."""
