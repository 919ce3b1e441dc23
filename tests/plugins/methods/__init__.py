"""Tests of plugins/framework_plugins/methods, one file for each module."""
