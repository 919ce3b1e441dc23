"""Tests of plugins/framework_plugins/audit, one file for each module."""
