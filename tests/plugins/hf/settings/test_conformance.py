"""Every optimizer, schedule and sampler of hf passes the suites that authors are given."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from framework.testing import OptimizerSuite, SamplerSuite, ScheduleSuite
from framework_plugins.hf.settings.optimizers import OPTIMIZERS
from framework_plugins.hf.settings.schedules import SCHEDULES
from tests.plugins.hf.settings.test_optimizers import needs

pytestmark = pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")


@pytest.fixture
def option(request: pytest.FixtureRequest) -> str:
    """Let the suite be that of one option after the other."""
    name: str = request.param
    request.cls.option = name
    if issubclass(request.cls, OptimizerSuite):
        needs(name)
        free = ["schedule=constant", "trainer.warmup_steps=null"] if OPTIMIZERS[name].own_schedule else []
        request.cls.overrides = [*free, *MORE.get(name, [])]
    else:
        request.cls.overrides = MORE.get(name, [])
    return name


MORE: dict[str, list[str]] = {
    "rmsprop": ["optimizer.centered=true", "optimizer.momentum=0.5"],
    "sgd": ["optimizer.momentum=0.9", "optimizer.nesterov=true"],
    "warmup_stable_decay": ["schedule.num_decay_steps=2"],
}


def each(names: Any) -> Any:
    return pytest.mark.parametrize("option", names, indirect=True)


@pytest.mark.usefixtures("option")
@each([name for name, schema in OPTIMIZERS.items() if not (schema.paged and schema.replaced)])  # adamw_torch, on a CPU
class TestOptimizers(OptimizerSuite):
    torch: ClassVar[Any] = torch


@pytest.mark.usefixtures("option")
@each([*SCHEDULES])
class TestSchedules(ScheduleSuite):
    pass


class TestShuffled(SamplerSuite):
    option = "shuffled"
