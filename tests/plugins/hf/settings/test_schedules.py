"""hf/settings/schedules.py: the factors are those of transformers to the last bit; what contradicts is refused."""

from __future__ import annotations

import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.optimization import get_scheduler

from framework import FrameworkError
from framework.api.plan import Plan
from framework.config.check import check
from framework.config.compose import compose
from framework.plan.diagnose import diagnose
from framework.plan.make import make_plan
from framework_plugins.hf.settings.schedules import SCHEDULES

RATE = 0.3
END = {"min_learning_rate": 0.07}


def words(*more: str) -> list[str]:
    return ["model=llama1b", "data=local_file", "data.path=x.jsonl", *more]


def plan(*more: str) -> Plan:
    return make_plan(compose(words(*more)), run_dir=Path("unused"))


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize(
    ("name", "settings", "theirs", "arguments"),
    [
        ("linear", {}, "linear", {}),
        ("linear", END, "polynomial", {"power": 1.0, "lr_end": 0.07}),
        ("linear", {"min_lr_ratio": 0.25}, "polynomial", {"power": 1.0, "lr_end": 0.25 * RATE}),
        ("cosine", {}, "cosine", {}),
        ("cosine", {"num_cycles": 1.5}, "cosine", {"num_cycles": 1.5}),
        ("cosine", END, "cosine_with_min_lr", {"min_lr": 0.07}),
        ("cosine", {"min_lr_ratio": 0.1}, "cosine_with_min_lr", {"min_lr_rate": 0.1}),
        ("cosine_with_restarts", {"num_cycles": 2}, "cosine_with_restarts", {"num_cycles": 2}),
        ("cosine_warm_start", END, "cosine_warmup_with_min_lr", {"min_lr": 0.07}),
        ("cosine_warm_start", {"min_lr_ratio": 0.1, "warmup_lr_rate": 0.2}, "cosine_warmup_with_min_lr",
         {"min_lr_rate": 0.1, "warmup_lr_rate": 0.2}),
        ("polynomial", {}, "polynomial", {}),
        ("polynomial", {"power": 2.0, **END}, "polynomial", {"power": 2.0, "lr_end": 0.07}),
        ("inverse_sqrt", {}, "inverse_sqrt", {}),
        ("inverse_sqrt", {"timescale": 2}, "inverse_sqrt", {"timescale": 2}),
        ("warmup_stable_decay", {"num_decay_steps": 4}, "warmup_stable_decay", {"num_decay_steps": 4}),
        ("warmup_stable_decay", {"num_decay_steps": 4, "num_stable_steps": 2, "warmup_type": "cosine",
                                 "decay_type": "1-sqrt", **END},
         "warmup_stable_decay", {"num_decay_steps": 4, "num_stable_steps": 2, "warmup_type": "cosine",
                                 "decay_type": "1-sqrt", "min_lr_ratio": 0.07 / RATE}),
        ("warmup_stable_decay", {"num_decay_steps": 4, "warmup_type": "1-sqrt", "decay_type": "linear",
                                 "min_lr_ratio": 0.1},
         "warmup_stable_decay", {"num_decay_steps": 4, "warmup_type": "1-sqrt", "decay_type": "linear",
                                 "min_lr_ratio": 0.1}),
        ("constant", {}, "constant", {}),
        ("constant_with_warmup", {}, "constant_with_warmup", {}),
    ],
)  # fmt: skip
def test_the_rate_of_each_step_is_that_of_transformers_to_the_last_bit(
    name: str, settings: dict[str, Any], theirs: str, arguments: dict[str, Any], warmup: int
) -> None:
    steps = 12
    typed = plan(f"schedule={name}", *(f"schedule.{key}={value}" for key, value in settings.items()),
                 f"trainer.learning_rate={RATE}").schedule.create()  # fmt: skip
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=RATE)
    with warnings.catch_warnings(action="ignore"):  # that steps of the training and stable steps are both given
        expected = get_scheduler(theirs, optimizer, warmup, steps, arguments)
    for step in range(steps):
        assert RATE * typed.factor(step, steps, warmup, RATE) == expected.get_last_lr()[0], step
        optimizer.step()
        expected.step()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["schedule=cosin"], "Did you mean 'cosine'?"),
        (["schedule=cosine_with_min_lr"], "is schedule=cosine schedule.min_learning_rate=… here"),
        (["schedule=warmup_stable_decay"], "schedule.num_decay_steps has no value: set schedule.num_decay_steps=…"),
        (["schedule.num_cycles=2"], "schedule=linear does not have it. It belongs to schedule=cosine or"),
        (["schedule=warmup_stable_decay", "schedule.num_decay_steps=2", "schedule.decay_type=quick"],
         "schedule.decay_type=quick must be one of linear, cosine, 1-sqrt"),
        (["schedule.min_learning_rate=1e-5", "schedule.min_lr_ratio=0.1"], "say the same: set one of them"),
        (["schedule.min_learning_rate=0.1"], "schedule.min_learning_rate=0.1 must be below trainer.learning_rate="),
        (["trainer.warmup_ratio=0.03", "trainer.warmup_steps=5"], "both say how long the warm-up is"),
        (["schedule=constant", "trainer.warmup_steps=5"], "has no warm-up: set schedule=constant_with_warmup"),
        (["trainer.lr_scheduler_type=cosine"], "trainer.lr_scheduler_type is set elsewhere now: type schedule=cosine; "
         "in a file, '- override /schedule: cosine' in its defaults"),
        (["trainer.lr_scheduler_kwargs.num_cycles=2"], "type schedule.num_cycles=2"),
        (["trainer.min_learning_rate=1e-5"], "type schedule.min_learning_rate=1e-05"),
    ],
)  # fmt: skip
def test_what_contradicts_or_is_read_by_nothing_is_refused_in_one_line(more: list[str], told: str) -> None:
    assert told in refusal(*more)


def refusal(*more: str) -> str:
    """Return the one line in which a plan is refused."""
    with pytest.raises(FrameworkError) as caught:
        planned(words(*more))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def planned(overrides: list[str]) -> None:
    try:
        config = compose(overrides)
    except Exception as error:
        raise diagnose(error, overrides) from error
    check(config)
    make_plan(config, run_dir=Path("unused"))


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (lambda *_: None, "gives None for step 0 of 6, not a number of at least 0"),
        (lambda *_: 1e308, "that is more than fp32 holds"),
        (lambda *_: float("nan"), "gives nan for step"),
        (lambda step, *_: -1.0 if step == 4 else 1.0, "gives -1.0 for step 4 of 6"),
        (lambda *_: 1 / 0, "fails for step 0 of 6: ZeroDivisionError"),
        (lambda *_: sys.exit(0), "fails for step 0 of 6: SystemExit: 0"),
        (lambda *_: 10**400, "gives 1000"),
        (lambda *_: abs(random.gauss(0, 1)), "it has to depend on nothing but its arguments"),
        (lambda *_: time.sleep(60), "it takes longer than 0.2 s"),
    ],
)
def test_a_schedule_that_gives_no_number_is_refused_before_the_first_step(
    factor: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework.util.guard.TRIAL_SECONDS", 0.2)
    monkeypatch.setattr(SCHEDULES["linear"], "factor", lambda _, *arguments: factor(*arguments))
    with pytest.raises(FrameworkError, match=r"^schedule=linear\b") as caught:
        plan().rate_factor(6)
    assert told in str(caught.value)
