"""Tests of plugins/framework_plugins/exports, one file for each module."""
