"""A logger for trackio."""
