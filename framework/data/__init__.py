"""The data stage: rows of the source -> conversations -> token rows, split and checked before any weight is loaded.

`stage.load_data` reads, formats, tokenizes and proves every row once and keeps the result on disk (`store.py`); the
split, the lengths and the audit are worked out from there.
"""
