"""One run, stage by stage, from a plan to a report.

Imports: `data`, `evaluate`, `monitor` and below.
Start with `pipeline.py`, which reads from top to bottom.
"""
