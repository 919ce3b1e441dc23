"""Whether an endpoint serves a run's model, and one that does. Read `answers.py`, `evidence.py`, `verdict.py`."""
