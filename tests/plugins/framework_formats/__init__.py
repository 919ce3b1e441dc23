"""Tests of plugins/framework_formats, one file for each module."""
