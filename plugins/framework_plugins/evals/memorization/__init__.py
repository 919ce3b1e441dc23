"""Memorization: `evaluator=memorization`, and the concern about its result."""
