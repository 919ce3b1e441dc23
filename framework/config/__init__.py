"""The config: composed, checked, described."""
