"""Tests of plugins/framework_quickstart."""
