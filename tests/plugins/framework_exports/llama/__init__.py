"""Tests of plugins/framework_exports/llama, one file for each module."""
