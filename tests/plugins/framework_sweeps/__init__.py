"""Tests of plugins/framework_sweeps, one file for each module."""
