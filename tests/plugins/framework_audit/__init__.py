"""Tests of plugins/framework_audit, one file for each module."""
