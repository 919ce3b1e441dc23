"""Tests of plugins/framework_plugins/exports/convert, one file for each module."""
