"""The launchers."""
