"""Decisions about a monitored training: the best step, early stopping, answers that do not end.

Imports: `plan` and below. The rules that find issues are a plugin, `framework_plugins.monitor`.
Start with `early_stopping.py`.
"""
