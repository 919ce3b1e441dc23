"""Functions called by name in a Python process of its own."""

from framework.util.process import ProcessError, PythonProcess

__all__ = ["ProcessError", "PythonProcess"]
