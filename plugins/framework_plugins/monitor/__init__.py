"""The rules by which a training is watched: losses, gradients and validations, each with what to change.

`watcher.py` checks each log entry by the rules in `losses.py`, `gradients.py` and `validation.py`; `cures.py` says what
to change. The core follows the training (`framework/run/training.py`) and asks every plugin by the hook
`framework_training_monitors`.
"""
