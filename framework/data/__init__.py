"""The data stage: rows of the source, conversations, token rows; split and checked before any weight is loaded.

Imports: `plan` and below.
Start with `stage.py`. Every row is read, tokenized and verified once and kept on disk (`store.py`).
"""
