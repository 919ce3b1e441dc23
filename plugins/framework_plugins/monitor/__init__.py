"""The rules that monitor a training: losses, gradients and validations, each with a recommendation.

`health_monitor.py` checks each log entry by the rules in `losses.py`, `gradients.py` and `validation.py`;
`recommendations.py` says what to change.
The core follows the training (`framework/run/training.py`) and asks every plugin by the hook
`framework_training_monitors`.
"""
