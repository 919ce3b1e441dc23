"""From a config to a plan, and whether the plan fits: diagnosis of mistakes, memory, compute, advice.

Imports: `rundir` and below.
Start with `make.py`, then `forecast.py`.
"""
