"""Tests of framework/testing/, the kit for authors of plugins."""
