"""Tests of plugins/framework_plugins/unsloth, one file for each module; those marked `unsloth` need Unsloth itself."""
