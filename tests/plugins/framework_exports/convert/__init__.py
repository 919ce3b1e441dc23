"""Tests of plugins/framework_exports/convert, one file for each module."""
