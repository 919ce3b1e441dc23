"""Options of a training by third parties: those of the page, and broken ones."""

from __future__ import annotations

import itertools
import logging
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file as load_weights

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.api.protocols import TrainRun
from framework.api.records import Step, TokenRow
from framework.run.callbacks import Callbacks
from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.train.options import TrainingOptions
from framework_plugins.hf.train.order import SampledOrder
from tests.support.training import make, opened, train

log = logging.getLogger(__name__)
PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "change-a-training.md"
FILES = dict(re.findall(r"<!-- file: (\w+)\.py -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
STRANGERS = [
    "optimizer=orthogonal", "schedule=trapezoid", "schedule.decay=0.5", "sampler=short_first", "callback=[plateau]",
    "callback.plateau.patience=1", "trainer.learning_rate=0.5",
]  # fmt: skip
SHAPE = [
    "audit=[]", "evaluator=[]", "data.validation_split=0.2", "adapter.lora_dropout=0.1", "trainer.max_steps=6",
    "trainer.save_steps=2", "trainer.per_device_train_batch_size=2", "trainer.gradient_accumulation_steps=2",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def strangers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load the files of the page."""
    folder = tmp_path_factory.mktemp("strangers")
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        testing.load_file(str(folder / f"{name}.py"))


@pytest.fixture
def plan(base: Path, rows: Path, tmp_path: Path) -> Callable[..., Plan]:
    return lambda *words: make(base, rows, tmp_path / "run", *SHAPE, *words)


def trained(made: Plan, folder: Path) -> tuple[dict[str, bytes], list[Step], int]:
    """Train, from the newest checkpoint if there is one; return the weights, the steps and where it resumed."""
    told: list[Step] = []
    callbacks = Callbacks(made.callback)

    def on_step(step: Step) -> Any:
        told.append(step)
        return callbacks.on_step(step)

    run = TrainRun(folder / "out", folder / "scratch", on_step, state=callbacks.state, restore=callbacks.restore)
    with opened(made) as (model, data):
        result = model.train(data.train, data.validation, run)
    weights = load_weights(folder / "out" / "adapter_model.safetensors")
    return {name: weight.tobytes() for name, weight in weights.items()}, told, result.resumed


def test_strangers_train_together_and_resume_bit_for_bit(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """With accumulation and dropout; each of them is seen to act. With trees and a kill: test_strangers.py."""
    made = plan(*STRANGERS)
    whole, steps, _ = trained(made, tmp_path)
    again, repeated, resumed = trained(made, tmp_path)
    assert resumed == 4
    assert again == whole
    assert [step.loss for step in repeated] == [step.loss for step in steps]
    file = Path(sys.modules[made.schedule.component.schema.__module__].__file__ or "")
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}# changed\n", encoding="utf-8")
    with pytest.raises(FrameworkError, match="another version of the code of schedule=trapezoid: restore that, remove"):
        trained(plan(*STRANGERS), tmp_path)
    file.write_text(text, encoding="utf-8")
    planned = [0.5 * made.rate_factor(6)(step) for step in range(6)]
    assert [step.learning_rate for step in steps][:2] == planned[:2]
    assert steps[-1].learning_rate < planned[5]  # the callback has lowered it
    assert [step.learning_rate for step in repeated] == [step.learning_rate for step in steps]


@pytest.fixture
def tiny() -> torch.nn.Module:
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(8, 4), "proj": torch.nn.Linear(4, 4)})
    return model.requires_grad_()


def groups_of(made: Plan, model: torch.nn.Module) -> list[tuple[list[str], float, float]]:
    """Return the groups of an optimizer by the names of their weights, without empty ones."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    optimizer = TrainingOptions(made, made.optimizer.create()).optimizer(model, {"embed.weight", "proj.weight"})
    return [
        ([names[id(weight)] for weight in group["params"]], group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        if group["params"]
    ]


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_weights_that_match_a_pattern_have_a_rate_and_a_decay_of_their_own(
    plan: Callable[..., Plan], tiny: torch.nn.Module, optimizer: str
) -> None:
    made = plan(
        f"optimizer={optimizer}", "optimizer.groups=[{match: embed, weight_decay: 0},{match: proj, learning_rate: 0.5}]"
    )
    assert sorted(groups_of(made, tiny)) == [
        (["embed.weight"], 0.01, 0.0), (["proj.bias"], 0.5, 0.0), (["proj.weight"], 0.5, 0.01),
    ]  # fmt: skip
    assert groups_of(plan("optimizer=sgd"), tiny) == [
        (["embed.weight", "proj.weight"], 0.01, 0.01),
        (["proj.bias"], 0.01, 0.0),
    ]


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        (
            ["head"],
            "optimizer.groups[0].match=head matches no trained weight. They are, with N for a number: embed",
        ),
        (["embedd"], "optimizer.groups[0].match=embedd matches no trained weight. Did you mean 'embed'? They are,"),
        (["e", "embed"], "optimizer.groups[1].match=embed matches only weights of the groups before it"),
    ],
)
def test_a_pattern_that_matches_no_weight_is_refused_with_the_names(
    plan: Callable[..., Plan], tiny: torch.nn.Module, patterns: list[str], told: str
) -> None:
    made = plan(f"optimizer.groups=[{','.join(f'{{match: {each}}}' for each in patterns)}]")
    with pytest.raises(FrameworkError) as caught:
        groups_of(made, tiny)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("words", [(), ("adapter=full", "trainer.learning_rate=1e-5"), ("adapter=dora",)])
def test_it_is_refused_before_weights_and_data_are_read(
    base: Path, rows: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    made = make(base, rows, tmp_path / "run", *words, "optimizer.groups=[{match: qproj, learning_rate: 0.1}]")
    with (
        pytest.raises(FrameworkError, match=r"match=qproj matches no trained weight. Did you mean 'q_proj'"),
        HFBackend(made.trainer.config).open(made),
    ):
        pass


def test_the_rows_of_new_tokens_have_a_name_before_the_data_too(base: Path, rows: Path, tmp_path: Path) -> None:
    words = ("model.new_tokens=['<a>']", "optimizer.groups=[{match: trainable_tokens, learning_rate: 0.1}]")
    with opened(make(base, rows, tmp_path / "run", *words)) as (model, data):
        _, steps = train(model, data, tmp_path)
    assert len(steps) == 4


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (lambda *_: [[0, 1], [2, 3], [4]] * 2, ""),
        (lambda *_: [[0, 1], [0, 1], [0]] * 2, "of 5 rows, 3 are never seen, 0 less often than the others, and 2 more"),
        (lambda *_: [[0, 1], [2, 3]], "sampler=shuffled gives 2 steps, and the training has 6"),
        (lambda *_: [[0, 1], [2], [4]] * 2, "sampler=shuffled, step 2: it gives 1 row, and this step has 2"),
        (lambda *_: [[0, 1], [2, 3], [4, 0]] * 2, "it gives 2 rows, and this step, the last of an epoch, has 1"),
        (lambda *_: [[0, 9], [2, 3], [4]] * 2, "step 1: there is no row 9; valid are 0 to 4"),
        (lambda *_: ["ab"] * 6, "step 1: it gives 'ab', not numbers of rows"),
        (lambda *_: None, "sampler=shuffled fails: TypeError: 'NoneType' object is not iterable"),
        (lambda *_: 1 / 0, "sampler=shuffled fails: ZeroDivisionError"),
        (lambda *_: sys.exit(), "sampler=shuffled fails: SystemExit"),
        (lambda *_: [[True, False]] * 6, "step 1: it gives [True, False], not numbers of rows"),
        (lambda *_: itertools.repeat(itertools.count()), "step 1: it gives more than 2 rows, and this step has 2"),
        (lambda *_: [random.sample(range(5), 2), [0, 1], [2]] * 2, "gives another order when it is asked again"),
    ],
)  # fmt: skip
def test_a_sampler_that_drops_repeats_or_breaks_is_told(
    plan: Callable[..., Plan], order: Any, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("framework_plugins.hf.train.order.Shuffled.order", lambda _, *rest: order(*rest))
    rows = [TokenRow([1] * each, [1] * each) for each in range(1, 6)]
    with caplog.at_level(logging.WARNING):
        try:
            list(SampledOrder(rows, 2, plan()))
        except FrameworkError as error:
            log.warning("%s", error)
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)
