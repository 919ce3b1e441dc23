"""Tests of plugins/framework_exports, one file for each module."""
