"""What authors of plugins test with: `compose()`, and a backend without torch that really learns by heart.

from framework import testing

testing.install()
plan = testing.plan(["metric=[acme_polite]"], run_dir=tmp_path)
report = framework.pipeline.run(plan)
"""

from framework.compose import compose
from framework.testing.echo import EchoBackend, EchoModel, install, plan

__all__ = ["EchoBackend", "EchoModel", "compose", "install", "plan"]
