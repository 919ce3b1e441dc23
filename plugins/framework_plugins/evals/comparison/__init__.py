"""The command `compare`: evaluations of any origin, item by item. Start with `command.py`, then `pairing.py`."""
