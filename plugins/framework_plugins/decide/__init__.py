"""Decisions: a model chooses one of given options, says how probable it is, and when it is not sure.

Read `rows.py`, `method.py`, `evaluator.py` and `decider.py` in this order.
"""
