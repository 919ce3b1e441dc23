"""Tests of plugins/framework_evals, one file for each module."""
