"""Tests of plugins/framework_plugins/exports/llama, one file for each module."""
