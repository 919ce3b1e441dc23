"""Tests of plugins/framework_plugins/trl_trainer."""
