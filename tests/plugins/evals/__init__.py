"""Tests of plugins/framework_plugins/evals, one file for each module."""
