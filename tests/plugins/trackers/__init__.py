"""Tests of plugins/framework_plugins/trackers, one file for each module."""
