"""The first-party plugins. Each is found by its entry point, as a stranger's is, and imports the public API alone."""
