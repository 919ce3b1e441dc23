"""Tests of plugins/framework_plugins/monitor."""
