"""A metric: how easy the answers are to read."""
