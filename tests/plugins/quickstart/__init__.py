"""Tests of plugins/framework_plugins/quickstart."""
