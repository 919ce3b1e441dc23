"""Tests of plugins/framework_unsloth, one file for each module; those marked `unsloth` need Unsloth itself."""
