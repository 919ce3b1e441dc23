"""framework/plan/calibration.py: what a training was seen to take beyond the arithmetic."""

from dataclasses import replace
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.api.plan import Plan
from framework.memory import MemorySettings, Weights
from framework.plan.calibration import keep, measure, offset
from framework.plan.make import make_plan
from framework.testing import compose
from tests.support.tiny import tiny_llama

GIB = 2**30

pytestmark = pytest.mark.usefixtures("own_cache")


def plan(*words: str) -> Plan:
    every = ["model=local", *words, "data=local_file", "data.path=rows.jsonl", "trainer.max_seq_length=96"]
    return make_plan(compose(every), run_dir=Path("unused"), overrides=tuple(every))


@pytest.mark.slow  # imports all that trains, and trains; the next two are of probes that end early
def test_a_probe_trains_and_what_it_took_is_kept_for_such_trainings_alone(tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "model")
    words = plan(f"model.path={model}", "trainer.device=cpu", "name=mine", "evaluator=[prompts]")
    settings = MemorySettings(rows=1, length=96, rank=16)
    assert offset("CPU", settings) == 0
    found = measure(words, 96, capped=8 * GIB)
    keep("CPU", settings, found)
    assert offset("CPU", settings) == found
    assert found
    assert abs(found) < GIB
    assert offset("CPU", replace(settings, answer_rows=4)) == found
    for other in (replace(settings, length=33), replace(settings, weights=Weights.nf4)):
        assert offset("CPU", other) == 0
    assert offset("rtx4090", settings) == 0


def test_a_probe_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    words = plan("model.path=/no/such/folder", "plan.calibrate=true")
    with pytest.raises(FrameworkError, match=r"plan.calibrate=true: the probe failed: .*there is no such folder"):
        measure(words, 96, capped=None)
    assert not list(tmp_path.rglob("calibration-*"))


def test_a_probe_may_take_no_more_than_it_is_given(tmp_path: Path) -> None:
    words = plan(f"model.path={tiny_llama(tmp_path / 'model')}", "trainer.device=cpu")
    with pytest.raises(FrameworkError, match=r"plan.calibrate=true: the probe failed"):
        measure(words, 96, capped=60 * 2**20)
