"""The command line: arguments, errors as text, and the core's own commands.

Imports: everything but `testing`.
Start with `main.py`.
"""
