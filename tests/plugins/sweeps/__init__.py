"""Tests of plugins/framework_plugins/sweeps, one file for each module."""
