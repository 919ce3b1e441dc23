"""Tests of plugins/framework_plugins/decide, one file for each module."""
