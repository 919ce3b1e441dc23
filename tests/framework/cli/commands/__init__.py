"""The core's commands, one file of tests to a command."""
