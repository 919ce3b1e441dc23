"""Tools for testing plugins: `check_plugin`, suites for pytest, and a backend without torch that really learns.

    from framework import testing
    import acme

    testing.check_plugin(acme)                                          # a list of problems, [] if all is well
    plan = testing.plan(["metric=[acme_polite]"], run_dir=tmp_path)     # with model=echo and trainer=echo
    report = testing.run(plan)

The suites are classes with tests: `class TestPolite(MetricSuite): option = "polite"`. Nothing here imports pytest.

Imports: everything; nothing imports it.
Start with `plugin.py`, then `suites/base.py`; `echo.py` is the backend.
"""

from framework.api.registry import load_file
from framework.cli.main import run_command
from framework.run.pipeline import run
from framework.testing.composition import compose
from framework.testing.echo import EchoBackend, EchoModel, add, install, plan
from framework.testing.plugin import check_plugin
from framework.testing.suites.audit import AuditSuite
from framework.testing.suites.backend import BackendSuite
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
    "EchoBackend",
    "EchoModel",
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
    "add",
    "check_plugin",
    "compose",
    "install",
    "load_file",
    "plan",
    "run",
    "run_command",
]
