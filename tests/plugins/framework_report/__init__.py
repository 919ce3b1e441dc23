"""Tests of plugins/framework_report, one file for each module."""
