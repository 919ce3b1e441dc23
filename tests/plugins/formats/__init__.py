"""Tests of plugins/framework_plugins/formats, one file for each module."""
