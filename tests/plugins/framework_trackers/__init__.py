"""Tests of plugins/framework_trackers, one file for each module."""
