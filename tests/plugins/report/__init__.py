"""Tests of plugins/framework_plugins/report, one file for each module."""
