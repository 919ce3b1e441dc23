"""What a model is measured by, and whether a run was worth it.

Imports: `plan` and below.
Start with `measure.py`, then `verdict/judge.py`.
"""
