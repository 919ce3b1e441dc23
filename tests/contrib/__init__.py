"""The distributions of contrib/, installed."""
