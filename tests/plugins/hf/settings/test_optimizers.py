"""hf/settings/optimizers.py: optimizers, planned, made as transformers makes them, checked, and resumed bit for bit."""

from __future__ import annotations

import dataclasses
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import Trainer, TrainingArguments

from framework import Component, FrameworkError, Selection
from framework.api import installed
from framework.api.protocols import ParameterGroup, TrainedWeight, TrainRun
from framework.api.records import Step, StepControl
from framework.api.schema import OptimizerConfig
from framework.memory import Shape
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.settings import optimizers
from framework_plugins.hf.settings.memory_plan import footprint
from framework_plugins.hf.settings.optimizers import OPTIMIZERS
from framework_plugins.hf.settings.schedules import SCHEDULES
from tests.plugins.hf.settings.test_schedules import plan, refusal
from tests.support.training import chosen, make, opened

ROWS, COLUMNS = 128, 64
SHAPE = ["adapter.r=64", "trainer.max_steps=6", "trainer.save_steps=2", "trainer.eval_steps=2"]
"""Matrices of 4096 numbers: bitsandbytes keeps the states of smaller ones in 32 bits."""
FREE = ["schedule=constant"]


def needs(name: str) -> None:
    package = OPTIMIZERS[name].package
    if package and installed(package) is None:
        pytest.skip(f"{package} is not installed")
    if name == "stable_adamw" and installed("triton") and not torch.cuda.is_available():
        pytest.skip("triton is installed, and there is no GPU")


def planned_weight(value: Any = None) -> TrainedWeight:
    return TrainedWeight("layers.0.weight", (ROWS, COLUMNS), value=value)


def made(name: str, **settings: Any) -> tuple[torch.nn.Parameter, Any]:
    """Return a matrix, and the optimizer that is made for it."""
    needs(name)
    weight = torch.nn.Parameter(torch.ones(ROWS, COLUMNS))
    group = ParameterGroup([planned_weight(weight)], 0.01, 0.1)
    return weight, chosen("optimizer", name, **settings).create().create([group], 0.01, 3)


THEIRS: dict[str, tuple[dict[str, Any], str]] = {
    "adagrad": ({"lr_decay": 0.25, "eps": 1e-6}, "lr_decay=0.25,eps=1e-06"),
    "ademamix": ({"alpha": 4.0, "t_alpha": 7, "t_beta3": 8}, "alpha=4.0,t_alpha=7,t_beta3=8"),
    "rmsprop": ({"momentum": 0.25, "alpha": 0.5, "centered": True}, "momentum=0.25,alpha=0.5,centered=True"),
    "schedule_free_adamw": ({"weight_lr_power": 1.0, "r": 0.5}, "weight_lr_power=1.0,r=0.5"),
    "sgd": ({"momentum": 0.25, "nesterov": True}, "momentum=0.25,nesterov=True"),
    "stable_adamw": ({"max_lr": 0.25}, "max_lr=0.25"),
}
"""Settings of ours, and how transformers is asked for the same."""


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"muon"}))
def test_an_optimizer_is_made_as_transformers_makes_it(name: str) -> None:
    settings, theirs = THEIRS.get(name, ({}, ""))
    adam = "adam" in name or "ademamix" in name
    betas = [0.5, 0.75, *([0.9999] if "ademamix" in name else [])]
    settings = settings | ({"betas": betas} if adam or "lion" in name else {}) | ({"eps": 1e-3} if adam else {})
    _, ours = made(name, **settings)
    more = {
        "optim": name + "_fused" * (name == "adamw_torch"), "optim_args": theirs or None, "adam_beta1": 0.5,
        "adam_beta2": 0.75, "adam_epsilon": 1e-3, "weight_decay": 0.1, "warmup_steps": 3,
    }  # fmt: skip
    config = TrainingArguments("unused", learning_rate=0.01, use_cpu=True, **more)
    kind, arguments = Trainer.get_optimizer_cls_and_kwargs(config)
    weight = torch.nn.Parameter(torch.ones(ROWS, COLUMNS))
    with warnings.catch_warnings(action="ignore"):  # of bitsandbytes, that a CPU has no pages
        expected = kind([{"params": [weight], "weight_decay": 0.1}], **arguments)
    assert type(ours) is type(expected)
    plain = [
        {key: value for key, value in each.param_groups[0].items() if key != "params"} for each in (ours, expected)
    ]
    assert plain[0] == plain[1]
    bits = [vars(each.args) if hasattr(each, "args") else {} for each in (ours, expected)]  # of bitsandbytes
    assert bits[0] == bits[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_plan_counts_the_states_that_an_optimizer_has(name: str) -> None:
    """Those of the unpaged one, of a matrix in fp32; bitsandbytes' tables and a step counter aside."""
    _count_states(name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("sgd", {"momentum": 0.9}), ("rmsprop", {"momentum": 0.9, "centered": True})],
)
def test_a_setting_that_adds_a_state_is_planned(name: str, settings: dict[str, Any]) -> None:
    _count_states(name, **settings)


def _count_states(name: str, **settings: Any) -> None:
    with warnings.catch_warnings(action="ignore"):  # of bitsandbytes, that a CPU has no pages
        weight, made_optimizer = made(name, **settings)
        if hasattr(made_optimizer, "train"):
            made_optimizer.train()
        for _ in range(2):
            weight.grad = torch.ones_like(weight)
            made_optimizer.step()
    aside = ("qmap", "absmax")
    state = made_optimizer.state[weight]
    size = sum(value.nbytes for key, value in state.items() if torch.is_tensor(value) and not key.startswith(aside))
    config = OPTIMIZERS[name](**settings)
    assert size / weight.numel() == pytest.approx(config.bytes_of(planned_weight()) / weight.numel(), abs=0.002)


def test_states_that_are_paged_lie_in_the_memory_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [TrainedWeight("weight", (1,))]
    for name, schema in OPTIMIZERS.items():
        assert (schema().state_bytes(weights, on_gpu=True) == 0) == (schema.paged or name == "sgd")
    assert OPTIMIZERS["paged_lion_8bit"]().state_bytes(weights, on_gpu=False) == 1.0
    assert OPTIMIZERS["paged_adamw_8bit"]().state_bytes(weights, on_gpu=False) == 8.0  # of adamw_torch
    for version, states in (("0.50.0", 2.0), (None, 8.0)):
        monkeypatch.setattr(optimizers, "installed", lambda _, version=version: version)
        assert OPTIMIZERS["adamw_8bit"]().state_bytes(weights, on_gpu=False) == states


def test_the_plan_says_that_it_does_not_know_the_states_of_an_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    made_plan = plan("optimizer=sgd")
    assert list(optimizers.advice(made_plan)) == []
    monkeypatch.setattr(OPTIMIZERS["sgd"], "state_bytes", lambda *_, **__: None)
    (told,) = optimizers.advice(made_plan)
    assert told.startswith("optimizer=sgd does not say how much memory its states need: the plan counts 8 bytes for ")
    shape = Shape(hidden=64, layers=1, heads=1, kv_heads=1, head_dim=64, intermediate=64, vocab=10, tied=True)
    assert footprint(made_plan, shape, None, 16, 0).state_bytes == 8.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_setting_of_an_optimizer_reaches_it(name: str) -> None:
    config = OPTIMIZERS[name]()
    samples = {"betas": [0.5, 0.75, 0.875][: len(getattr(config, "betas", []))], "nesterov": name != "muon"}
    more = {"momentum": 0.9} if name == "sgd" else {}
    for field in dataclasses.fields(config):
        if field.name == "groups":
            continue
        default = getattr(config, field.name)
        value = samples.get(field.name, not default if isinstance(default, bool) else 7 if default is None else 0.25)
        value = 3 if field.name == "ns_steps" else value
        with warnings.catch_warnings(action="ignore"):
            _, plain = made(name, **more)
            _, changed = made(name, **{**more, field.name: value})
        groups = [{**each.param_groups[0], "params": None} for each in (plain, changed)]
        # AdamW, which has the rest of the weights, has no group if there are only matrices.
        assert groups[0] != groups[1] or (name == "muon" and field.name in {"betas", "eps"}), field.name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer=lion"], "unknown optimizer 'lion'"),
        (["optimizer=adamw_troch"], "Did you mean 'adamw_torch'?"),
        (["optimizer.momentum=0.9"], "unknown key 'optimizer.momentum': optimizer=adamw_torch does not have it."),
        (["optimizer=sgd", "optimizer.momentun=0.9"], "Did you mean 'optimizer.momentum'?"),
        (["optimizer=sgd", "optimizer.momentum=much"], "optimizer.momentum=much must be a number"),
        (["optimizer=sgd", "optimizer.nesterov=true"], "needs a momentum"),
        (["optimizer.betas=[0.9]"], "optimizer.betas=[0.9] must be a list of 2, each a number"),
        (["optimizer=schedule_free_adamw"], "set schedule=constant"),
        (["optimizer=schedule_free_adamw", *FREE, "trainer.warmup_ratio=0.1"], "takes trainer.warmup_steps only"),
        (["optimizer=schedule_free_radam", *FREE, "trainer.warmup_steps=5"], "warms up by itself: set it to null"),
        (["trainer.optim=adamw_8bit"], "trainer.optim is set elsewhere now: type optimizer=adamw_8bit; in a file, "),
        (["trainer.optim_args.momentum=0.9"], "type optimizer.momentum=0.9"),
        (["trainer.adam_beta2=0.95"], "type optimizer.betas=[0.9,0.95]"),
        (["trainer.adam_epsilon=1e-6"], "type optimizer.eps=1e-06"),
        (["optimizer.groups=[{match: '('}]"], "optimizer.groups[0].match=( is not a regular expression"),
        (["optimizer.groups=[{learning_rate: 1e-5}]"], "optimizer.groups[0].match has no value"),
        (["optimizer.groups=[{match: a, rate: 1}]"], "unknown key 'rate'. Did you mean 'learning_rate'?"),
        (["optimizer.groups=[{match: a, learning_rate: 2}]"], "learning_rate=2 must be a number above 0, up to 1"),
    ],
)  # fmt: skip
def test_what_contradicts_or_is_read_by_nothing_is_refused_in_one_line(words: list[str], told: str) -> None:
    assert told in refusal(*words)


@pytest.mark.parametrize(
    ("optimizer", "package"),
    [("schedule_free_adamw", "schedulefree"), ("stable_adamw", "torch-optimi"), ("lion_8bit", "bitsandbytes")],
)
def test_an_optimizer_without_its_package_is_refused_with_what_installs_it(
    optimizer: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework.util.requirements.missing", lambda extras: [each for each in extras if each])
    words = [f"optimizer={optimizer}", *(FREE if "free" in optimizer else [])]
    with pytest.raises(FrameworkError, match=f"optimizer={optimizer} needs {package}.*pip install"):
        plan(*words)
    plan(*words, "stages=[plan]")  # that may be for another machine


def test_an_optimizer_that_fails_here_is_refused_where_adamw_would_be_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bitsandbytes.optim.Lion.step", lambda *_: None)
    with pytest.raises(FrameworkError, match=r"^optimizer=lion_8bit changes nothing on this cpu. Set optimizer=adamw"):
        hardware.runnable(chosen("optimizer", "lion_8bit"), "cpu")


@pytest.mark.parametrize(
    ("create", "told"),
    [
        (lambda *_: None, "makes a NoneType, not a torch.optim.Optimizer"),
        (lambda *_: 1 / 0, "does not run on this cpu: ZeroDivisionError"),
        (lambda *_: torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]), "leaves out weights that it is given"),
        (
            lambda groups, *_: torch.optim.SGD([groups[0].for_torch() | {"lr": float("nan")}]),
            "makes weights that are not",
        ),
        (lambda groups, *_: torch.optim.SGD([groups[0].for_torch() | {"lr": 0.0}]), "changes nothing on this cpu"),
    ],
)
def test_an_optimizer_of_a_stranger_that_cannot_train_is_refused(create: Any, told: str) -> None:
    class Strange(OptimizerConfig):
        pass

    factory = type("Factory", (), {"state_bytes": lambda *_, **__: None, "create": lambda _, *rest: create(*rest)})
    strange = Selection(Component("strange", Strange, "x:y"), Strange())
    object.__setattr__(strange, "create", factory)
    with pytest.raises(FrameworkError, match=r"^optimizer=strange ") as caught:
        hardware.runnable(strange, "cpu")
    assert told in str(caught.value)


class Resumed(torch.optim.Optimizer):
    """A third-party optimizer: `own` changes its state, and returns what the update is multiplied with."""

    def __init__(self, params: Any, rate: float, own: Callable[..., Any]) -> None:
        super().__init__(params, {"lr": rate})
        self.own, self.kept = own, 1.0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # of torch
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                factor = self.own(self, group, self.state[weight], weight)
                weight.sub_(group["lr"] * weight.grad * factor)


def momentum(_: Any, __: Any, state: dict[str, Any], weight: Any) -> Any:
    held = state.setdefault("m", torch.zeros_like(weight, dtype=torch.bfloat16))
    return held.mul_(0.9).add_(weight.grad.bfloat16()).float()


def beside(self: Any, *_: Any) -> float:
    self.kept *= 0.9
    return float(self.kept)


def keeping(value: Callable[[], Any]) -> Callable[..., float]:
    def own(_: Any, __: Any, state: dict[str, Any], *___: Any) -> float:
        state["kept"] = value()
        return 1.0

    return own


def in_all(self: Any, *_: Any) -> float:
    self.state["all"] = {"n": self.state.get("all", {"n": 0})["n"] + 1}
    return float(1 / self.state["all"]["n"])


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (momentum, ""),
        (in_all, ""),
        (lambda *_: torch.rand(()) + random.gauss(0, 1) + np.random.rand(), ""),  # noqa: NPY002 - the global one
        (beside, "does not resume: with its state from a checkpoint it makes other updates"),
        (
            keeping(lambda: np.float64(1)),
            "has a state that cannot be read back: keep numbers, texts and tensors",
        ),
        (
            keeping(lambda: Fraction(1, 3)),
            "has a state that cannot be read back: keep numbers, texts and tensors",
        ),
        (keeping(lambda: lambda: 1), "has a state that cannot be saved: "),
        (lambda *_: sys.exit(0), "does not run on this cpu: SystemExit: 0"),
        (lambda *_: time.sleep(60), "does not run on this cpu: it takes longer than 0.2 s"),
    ],
)
def test_an_optimizer_of_a_stranger_resumes_or_is_refused_before_the_model_is_loaded(
    own: Callable[..., Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework.util.guard.TRIAL_SECONDS", 0.2)

    class Strange(OptimizerConfig):
        pass

    made = lambda _, groups, rate, __: Resumed([one.for_torch() for one in groups], rate, own)  # noqa: E731
    factory = type("Factory", (), {"state_bytes": lambda *_, **__: None, "create": made})
    strange = Selection(Component("strange", Strange, "x:y"), Strange())
    object.__setattr__(strange, "create", factory)
    before = torch.get_rng_state()
    if told:
        with pytest.raises(FrameworkError, match=f"^optimizer=strange {told}"):
            hardware.runnable(strange, "cpu")
    else:
        hardware.runnable(strange, "cpu")
        assert torch.equal(torch.get_rng_state(), before)


def test_stable_adamw_is_refused_where_it_would_run_on_triton_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = chosen("optimizer", "stable_adamw")
    monkeypatch.setattr(hardware, "installed", lambda _: None)
    assert hardware.runnable(choice, "cpu") == (choice.config, "stable_adamw")
    monkeypatch.setattr(hardware, "installed", lambda _: "3.5.0")
    with pytest.raises(FrameworkError, match=r"and Triton needs a GPU: set optimizer=adamw_torch, or uninstall"):
        hardware.runnable(choice, "cpu")


@dataclass(frozen=True)
class Trained:
    """What a training left: its adapter, its steps, and the step after which it resumed."""

    weights: dict[str, bytes]
    steps: list[Step]
    resumed: int


Train = Callable[..., Trained]


@pytest.fixture(scope="module")
def train(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Return what trains into a folder, from the newest checkpoint there, and may keep the weights of a step."""
    folder = tmp_path_factory.mktemp("optimizers")

    def trained(name: str, *words: str, keep: int | None = None) -> Trained:
        told: list[Step] = []

        def on_step(step: Step) -> StepControl:
            told.append(step)
            return StepControl(keep=step.step == keep)

        to = TrainRun(folder / name / "checkpoint", folder / name / "scratch", on_step)
        settings = [*SHAPE, "audit=[]", "evaluator=[]", "data.validation_split=0.2", "adapter.lora_dropout=0.1", *words]
        with opened(make(base, rows, folder / name, *settings)) as (model, data):
            result = model.train(data.train, data.validation, to)
        weights = load_file(folder / name / "checkpoint" / "adapter_model.safetensors")
        return Trained({key: value.tobytes() for key, value in weights.items()}, told, result.resumed)

    return trained


def resumed(train: Train, name: str, *words: str) -> tuple[Trained, Trained]:
    """Train, and train again from the checkpoint of step 4, which is there until a run has saved its result."""
    whole, again = train(name, *words), train(name, *words)
    assert (whole.resumed, again.resumed) == (0, 4)
    return whole, again


QUICK = ("lion_8bit", "schedule_free_adamw", "muon", "cosine", "warmup_stable_decay")
"""States in 8 bits, weights that change between training and evaluation, two optimizers in one, and schedules with
noise and with stages."""


def each(names: Iterable[str]) -> list[Any]:
    """Return the names as parameters, those that repeat what `QUICK` shows as slow ones."""
    return [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow, id=one) for one in names]


@pytest.mark.parametrize("name", each(one for one in OPTIMIZERS if not one.startswith("paged")))
def test_a_training_is_resumed_bit_for_bit_with_each_optimizer(train: Train, name: str) -> None:
    needs(name)
    words = [f"optimizer={name}", *([*FREE, "trainer.warmup_steps=null"] if OPTIMIZERS[name].own_schedule else [])]
    words += ["optimizer.momentum=0.9"] if name == "sgd" else []
    words += ["optimizer.groups=[{match: lora_B, learning_rate: 0.01}]"] if name == "muon" else []
    whole, again = resumed(train, name, *words)
    assert again.weights == whole.weights
    assert [step.loss for step in again.steps] == [step.loss for step in whole.steps]
    assert len({step.loss for step in whole.steps}) > 1


RESUMED: dict[str, list[str]] = {
    "linear": ["schedule.min_learning_rate=0.001"],
    "cosine": ["schedule.min_learning_rate=0.001", "trainer.neftune_noise_alpha=1"],
    "cosine_with_restarts": ["schedule.num_cycles=2"],
    "cosine_warm_start": ["schedule.min_learning_rate=0.001"],
    "polynomial": ["schedule.power=2"],
    "inverse_sqrt": ["schedule.timescale=1"],
    "warmup_stable_decay": ["schedule.num_decay_steps=2", "trainer.warmup_steps=null", "trainer.warmup_ratio=0.3"],
    "constant_with_warmup": ["trainer.warmup_steps=4"],
    "constant": ["trainer.warmup_steps=null"],
}


@pytest.mark.parametrize("name", each(SCHEDULES))
def test_a_training_is_resumed_bit_for_bit_with_each_schedule(train: Train, name: str) -> None:
    whole, again = resumed(train, name, f"schedule={name}", *RESUMED[name])
    rates = [step.learning_rate for step in whole.steps]
    assert again.weights == whole.weights
    assert [step.learning_rate for step in again.steps] == rates
    # A schedule that started again after the checkpoint would have the rates of the first steps.
    assert name == "constant" or rates[4:] != rates[:2]


def test_a_schedule_free_optimizer_answers_and_is_saved_with_its_average(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation loss is that of the weights that are kept, and training continues with its own."""
    needs("schedule_free_adamw")
    words = ["optimizer=schedule_free_adamw", *FREE, "trainer.warmup_steps=null"]
    averaged = train("averaged", *words, keep=2)
    monkeypatch.setattr("schedulefree.AdamWScheduleFree.eval", lambda _: None)
    own = train("own", *words, keep=2)
    assert [step.loss for step in averaged.steps] == pytest.approx([step.loss for step in own.steps], rel=1e-5)
    assert averaged.weights != own.weights
    assert [step.eval_loss for step in averaged.steps] != [step.eval_loss for step in own.steps]
