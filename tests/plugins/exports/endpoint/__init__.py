"""Tests of plugins/framework_plugins/exports/endpoint, one file for each module."""
