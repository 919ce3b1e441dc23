"""What any program needs: whole files, locks, hashes, redaction, the machine and its GPUs, errors and their texts.

Imports: nothing of the framework.
Start with `errors.py`, the one exception for a user's mistake, and `files.py`.
"""
