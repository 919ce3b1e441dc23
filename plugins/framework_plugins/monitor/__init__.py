"""A training is watched while it runs: what goes wrong is named, with its cure, and the run stops, goes on or slows.

`watcher.py` looks at each log entry by the rules in `losses.py`, `gradients.py` and `validation.py`; `answers.py` looks
at the answers. `course.py` follows one training: it asks the watcher, keeps to the early stopping, and says which
weights are the best.
"""
