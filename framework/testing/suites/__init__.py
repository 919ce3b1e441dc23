"""Tests that every plugin of a kind has to pass, as classes for pytest to run.

An author subclasses one, names the option and gives what only the author can know:

    from framework.testing.suites import MetricSuite

    class TestPolite(MetricSuite):
        option = "polite"
        answers = [("Yes please", None, 1.0), ("No", None, 0.0)]

The option has to be registered before the first test runs: by the entry point of the installed plugin, or in
`conftest.py` with `framework.testing.load_file("acme.py")`. Runs use the echo backend unless `overrides` say
otherwise.
"""

from framework.testing.suites.audit import AuditSuite
from framework.testing.suites.backend import BackendSuite
from framework.testing.suites.base import Suite
from framework.testing.suites.exporter import ExporterSuite
from framework.testing.suites.formatter import FormatterSuite
from framework.testing.suites.logger import LoggerSuite
from framework.testing.suites.metric import MetricSuite
from framework.testing.suites.objective import LossSuite, MethodSuite
from framework.testing.suites.rollout import RolloutSuite
from framework.testing.suites.source import SourceSuite
from framework.testing.suites.training import CallbackSuite, OptimizerSuite, SamplerSuite, ScheduleSuite

__all__ = [
    "AuditSuite",
    "BackendSuite",
    "CallbackSuite",
    "ExporterSuite",
    "FormatterSuite",
    "LoggerSuite",
    "LossSuite",
    "MethodSuite",
    "MetricSuite",
    "OptimizerSuite",
    "RolloutSuite",
    "SamplerSuite",
    "ScheduleSuite",
    "SourceSuite",
    "Suite",
]
