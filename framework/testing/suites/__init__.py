"""Tests that every plugin of a kind has to pass, as classes for pytest to run.

An author subclasses one, names the option and gives what only the author can know:

    from framework.testing import MetricSuite

    class TestPolite(MetricSuite):
        option = "polite"
        answers = [("Yes please", None, 1.0), ("No", None, 0.0)]

The option has to be registered before the first test runs: by the entry point of the installed plugin, or in
`conftest.py` with `framework.testing.load_file("acme.py")`. Runs use the echo backend unless `overrides` say
otherwise.
"""
