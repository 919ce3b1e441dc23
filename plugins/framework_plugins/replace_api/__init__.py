"""May an API be switched off: logged calls become rows, a small model learns them, and a verdict says what it is worth.

Read `turns.py`, `exports.py`, `source.py`, `evaluator.py`, `verdict.py`, `bill.py` and `decision.py` in this order.
"""
