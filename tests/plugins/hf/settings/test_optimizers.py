"""hf/settings/optimizers.py: optimizers and schedules, planned, checked, and resumed bit for bit."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from transformers import Trainer
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames
from trl import SFTConfig

from framework import FrameworkError
from framework.api import installed
from framework.api.plan import Plan
from framework.api.protocols import TrainRun
from framework.api.records import Step, StepControl
from framework.api.schema import Optimizer, Schedule
from framework.config.check import check
from framework.config.compose import compose
from framework.plan.diagnose import diagnose
from framework.plan.make import make_plan
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.settings import optimizers
from framework_plugins.hf.settings.config import Device, HFTrainerConfig
from framework_plugins.hf.train.trainer import sft_config
from tests.support.training import make, opened

CPU = Hardware("cpu", torch.float32, checkpointing=False, optimizer=Optimizer.adamw_torch)
ROWS, COLUMNS = 128, 64
SHAPE = ["adapter.r=64", "trainer.max_steps=6", "trainer.save_steps=2", "trainer.eval_steps=2"]
"""Matrices of 4096 numbers: bitsandbytes keeps the states of smaller ones in 32 bits."""
FREE = ["trainer.lr_scheduler_type=constant"]


def plan(*words: str) -> Plan:
    return make_plan(compose(["model=llama1b", "data=local_file", "data.path=x.jsonl", *words]), run_dir=Path("unused"))


def arguments(config: HFTrainerConfig) -> SFTConfig:
    machine = Hardware("cpu", torch.float32, checkpointing=False, optimizer=config.optim)
    return sft_config(config, machine, 0, "unused", autocast=False)


def needs(optimizer: Optimizer) -> None:
    package = optimizers.OPTIMIZERS[optimizer].package
    if package and installed(package) is None:
        pytest.skip(f"{package} is not installed")
    if optimizer is Optimizer.stable_adamw and installed("triton") and not torch.cuda.is_available():
        pytest.skip("triton is installed, and there is no GPU")


def made(config: HFTrainerConfig) -> tuple[torch.nn.Parameter, Any]:
    """Return a matrix, and the optimizer that transformers makes for it."""
    needs(config.optim)
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments(config))
    weight = torch.nn.Parameter(torch.ones(ROWS, COLUMNS))
    return weight, kind([{"params": [weight], "weight_decay": config.weight_decay}], **settings)


def test_every_name_is_one_of_transformers_and_has_its_facts() -> None:
    assert {each.value for each in Optimizer} <= {each.value for each in OptimizerNames}
    assert {each.value for each in Schedule} <= {each.value for each in SchedulerType}
    assert optimizers.OPTIMIZERS.keys() == {*Optimizer}
    assert optimizers.SCHEDULES.keys() == {*Schedule}


@pytest.mark.parametrize("schedule", Schedule, ids=lambda each: each.value)
def test_the_arguments_of_a_schedule_are_those_of_its_function(schedule: Schedule) -> None:
    function = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(schedule.value)]
    given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
    known = optimizers.SCHEDULES[schedule].arguments
    assert set(known) == inspect.signature(function).parameters.keys() - given


@pytest.mark.parametrize("optimizer", Optimizer, ids=lambda each: each.value)
def test_the_plan_counts_the_states_that_an_optimizer_has(optimizer: Optimizer) -> None:
    """Those of the unpaged one, of a matrix in fp32; bitsandbytes' tables and a step counter aside."""
    weight, made_optimizer = made(HFTrainerConfig(optim=optimizers.UNPAGED.get(optimizer, optimizer)))
    if hasattr(made_optimizer, "train"):
        made_optimizer.train()
    with warnings.catch_warnings(action="ignore"):  # of bitsandbytes, that a CPU has no pages
        for _ in range(2):
            weight.grad = torch.ones_like(weight)
            made_optimizer.step()
    aside = ("qmap", "absmax")
    state = made_optimizer.state[weight]
    size = sum(value.nbytes for key, value in state.items() if torch.is_tensor(value) and not key.startswith(aside))
    if optimizer is Optimizer.adafactor:
        planned = optimizers.state_bytes(optimizer, {}, ROWS, COLUMNS, on_gpu=True)
    else:
        planned = optimizers.OPTIMIZERS[optimizer].states
    assert size / weight.numel() == pytest.approx(planned, abs=0.002)


@pytest.mark.parametrize(
    ("name", "given", "states"),
    [
        ("sgd", {}, 0.0),
        ("sgd", {"momentum": 0.9}, 4.0),
        ("rmsprop", {"momentum": 0.9, "centered": True}, 12.0),
    ],
)
def test_an_argument_that_adds_a_state_is_planned(name: str, given: dict[str, Any], states: float) -> None:
    weight, made_optimizer = made(HFTrainerConfig(optim=Optimizer[name], optim_args=given))
    weight.grad = torch.ones_like(weight)
    made_optimizer.step()
    size = sum(value.nbytes for value in made_optimizer.state[weight].values() if torch.is_tensor(value))
    assert size / weight.numel() == pytest.approx(states, abs=0.002)
    assert optimizers.state_bytes(Optimizer[name], given, 8, 64, on_gpu=True) == states


def test_states_that_are_paged_lie_in_the_memory_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for optimizer, facts in optimizers.OPTIMIZERS.items():
        on_gpu = optimizers.state_bytes(optimizer, {}, 8, 64, on_gpu=True)
        assert (on_gpu == 0) == (facts.paged or optimizer is Optimizer.sgd)
    assert optimizers.state_bytes(Optimizer.paged_lion_8bit, {}, 8, 64, on_gpu=False) == 1.0
    assert optimizers.state_bytes(Optimizer.paged_adamw_8bit, {}, 8, 64, on_gpu=False) == 8.0  # of adamw_torch
    for version, states in (("0.50.0", 2.0), (None, 8.0)):
        monkeypatch.setattr(optimizers, "installed", lambda _, version=version: version)
        assert optimizers.state_bytes(Optimizer.adamw_8bit, {}, 8, 64, on_gpu=False) == states


SAMPLES = {float: 0.25, int: 7, bool: True}
INSIDE = {"beta3": lambda group: group["betas"][2]}
"""Arguments that an optimizer keeps under another name."""


def taken() -> list[Any]:
    return [
        pytest.param(optimizer, name, kind, id=f"{optimizer.value}-{name}")
        for optimizer, facts in optimizers.OPTIMIZERS.items()
        for name, kind in facts.arguments.items()
    ]


@pytest.mark.parametrize(("optimizer", "name", "kind"), taken())
def test_each_argument_of_an_optimizer_reaches_it(optimizer: Optimizer, name: str, kind: type) -> None:
    more = {"momentum": 0.9} if name == "nesterov" else {}
    _, made_optimizer = made(HFTrainerConfig(optim=optimizer, optim_args={name: SAMPLES[kind], **more}))
    group = made_optimizer.param_groups[0]
    assert INSIDE.get(name, lambda group: group[name])(group) == SAMPLES[kind]


@pytest.mark.parametrize("optimizer", Optimizer, ids=lambda each: each.value)
def test_the_numbers_of_adam_reach_the_optimizers_that_have_them_and_no_other(optimizer: Optimizer) -> None:
    plain, changed = (
        made(config)[1].param_groups[0]
        for config in (
            HFTrainerConfig(optim=optimizer),
            HFTrainerConfig(optim=optimizer, adam_beta1=0.5, adam_beta2=0.75, adam_epsilon=1e-3),
        )
    )
    facts = optimizers.OPTIMIZERS[optimizer]
    first = {"betas"} if facts.betas else set()
    differ = {key for key in plain if key != "params" and plain[key] != changed[key]}
    assert {"betas" if key.startswith("beta") else key for key in differ} == (
        first | ({"eps"} if "adam_epsilon" in facts.betas else set())
    )


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        (["lr_scheduler_type=linear"], [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]),
        (["lr_scheduler_type=linear", "min_learning_rate=0.2"], [0.0, 0.5, 1.0, 0.8, 0.6, 0.4, 0.2]),
        (["lr_scheduler_type=cosine", "min_learning_rate=0.2"], [0.0, 0.5, 1.0, 0.883, 0.6, 0.317, 0.2]),
        (["lr_scheduler_type=polynomial", "lr_scheduler_kwargs.power=2", "min_learning_rate=0.2"],
         [0.0, 0.5, 1.0, 0.65, 0.4, 0.25, 0.2]),
        (["lr_scheduler_type=cosine_with_restarts", "lr_scheduler_kwargs.num_cycles=2"],
         [0.0, 0.5, 1.0, 0.5, 1.0, 0.5, 0.0]),
        (["lr_scheduler_type=cosine_with_min_lr", "lr_scheduler_kwargs.min_lr_rate=0.2"],
         [0.0, 0.5, 1.0, 0.883, 0.6, 0.317, 0.2]),
        (["lr_scheduler_type=cosine_warmup_with_min_lr", "min_learning_rate=0.2"],
         [0.5, 1.0, 0.883, 0.6, 0.317, 0.2, 0.317]),
        (["lr_scheduler_type=inverse_sqrt", "lr_scheduler_kwargs.timescale=1"],
         [0.0, 0.5, 1.0, 0.707, 0.577, 0.5, 0.447]),
        (["lr_scheduler_type=warmup_stable_decay", "lr_scheduler_kwargs={num_decay_steps: 2, decay_type: linear}",
          "min_learning_rate=0.2"], [0.2, 0.6, 1.0, 1.0, 1.0, 0.6, 0.2]),
        (["lr_scheduler_type=constant_with_warmup"], [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        (["lr_scheduler_type=constant", "warmup_steps=null"], [1.0] * 7),
        (["lr_scheduler_type=constant_with_warmup", "warmup_steps=null", "warmup_ratio=0.5"],
         [0.0, 0.333, 0.667, 1.0, 1.0, 1.0, 1.0]),
        (["lr_scheduler_type=constant_with_warmup", "warmup_steps=null"], [0.1 * step for step in range(7)]),
    ],
)  # fmt: skip
def test_the_learning_rate_of_each_step_is_that_of_the_schedule(words: list[str], rates: list[float]) -> None:
    given = {"warmup_steps": "2", "learning_rate": "1.0", **dict(word.split("=", 1) for word in words)}
    config = plan(*(f"trainer.{key}={value}" for key, value in given.items())).trainer.config
    args = arguments(config)
    weight = torch.nn.Parameter(torch.ones(1))
    trainer = type("Loop", (), {"args": args, "lr_scheduler": None})()
    optimizer = torch.optim.SGD([weight], lr=args.learning_rate)
    schedule = Trainer.create_scheduler(trainer, 6, optimizer)
    found = []
    for _ in rates:
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(rates, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optim=lion"], "trainer.optim=lion must be one of "),
        (["optim=adamw_troch"], "Did you mean 'adamw_torch'?"),
        (["optim_args.momentum=0.9"], "trainer.optim_args.momentum: trainer.optim=adamw_torch has no such argument. "
         "Valid: none"),
        (["optim=sgd", "optim_args.momentun=0.9"], "Did you mean 'momentum'? Valid: dampening, momentum, nesterov"),
        (["optim=sgd", "optim_args.momentum=much"], "trainer.optim_args.momentum=much must be a number"),
        (["optim=sgd", "optim_args.momentum=true"], "trainer.optim_args.momentum=true must be a number"),
        (["optim=sgd", "optim_args.nesterov=1"], "trainer.optim_args.nesterov=1 must be true or false"),
        (["optim=sgd", "optim_args.nesterov=true"], "needs a momentum"),
        (["optim=sgd", "optim_args.weight_decay=0.1"], "trainer.optim_args.weight_decay=0.1: set "
         "trainer.weight_decay"),
        (["optim=sgd", "adam_beta1=0.5"], "trainer.adam_beta1=0.5 is not used by trainer.optim=sgd: leave it out"),
        (["optim=lion_8bit", "adam_epsilon=1e-6"], "trainer.adam_epsilon=1e-06 is not used by trainer.optim=lion_8bit"),
        (["optim=schedule_free_adamw"], "set trainer.lr_scheduler_type=constant"),
        (["optim=schedule_free_adamw", *FREE, "warmup_ratio=0.1"], "takes trainer.warmup_steps only"),
        (["optim=schedule_free_radam", *FREE, "warmup_steps=5"], "warms up by itself: set it to null"),
        (["lr_scheduler_type=cosin"], "Did you mean 'cosine'?"),
        (["lr_scheduler_type=warmup_stable_decay"], "needs trainer.lr_scheduler_kwargs.num_decay_steps=STEPS"),
        (["lr_scheduler_type=warmup_stable_decay", "min_learning_rate=1e-5"], "num_decay_steps=STEPS"),
        (["lr_scheduler_type=cosine_with_min_lr"], "needs trainer.min_learning_rate=RATE"),
        (["lr_scheduler_type=cosine_with_min_lr", "min_learning_rate=1e-5", "lr_scheduler_kwargs.min_lr=1e-5"],
         "trainer.lr_scheduler_kwargs.min_lr and trainer.min_learning_rate say the same: set one of them"),
        (["lr_scheduler_kwargs.num_cycles=2"], "trainer.lr_scheduler_type=linear has no such argument. Valid: none"),
        (["lr_scheduler_type=warmup_stable_decay", "lr_scheduler_kwargs={num_decay_steps: 2, decay_type: quick}"],
         "trainer.lr_scheduler_kwargs.decay_type=quick must be one of linear, cosine, 1-sqrt"),
        (["min_learning_rate=1e-5", "lr_scheduler_type=inverse_sqrt"], "does not use it: set trainer.lr_scheduler"),
        (["min_learning_rate=0.1"], "trainer.min_learning_rate=0.1 must be below trainer.learning_rate=0.0002"),
        (["warmup_ratio=0.03", "warmup_steps=5"], "trainer.warmup_ratio=0.03 and trainer.warmup_steps=5 both say"),
        (["warmup_ratio=1.5"], "trainer.warmup_ratio=1.5 must be a number from 0 to below 1, or null"),
        (["lr_scheduler_type=constant", "warmup_steps=5"], "has no warm-up: set trainer.lr_scheduler_type="
         "constant_with_warmup"),
    ],
)  # fmt: skip
def test_what_contradicts_or_is_read_by_nothing_is_refused_in_one_line(words: list[str], told: str) -> None:
    overrides = ["model=llama1b", "data=local_file", "data.path=x.jsonl", *(_word(word) for word in words)]
    with pytest.raises(FrameworkError) as caught:
        planned(overrides)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def planned(overrides: list[str]) -> None:
    try:
        config = compose(overrides)
    except Exception as error:
        raise diagnose(error, overrides) from error
    check(config)
    make_plan(config, run_dir=Path("unused"))


def _word(word: str) -> str:
    return word if word.startswith("trainer.") else f"trainer.{word}"


@pytest.mark.parametrize(
    ("optimizer", "package"),
    [("schedule_free_adamw", "schedulefree"), ("stable_adamw", "torch-optimi"), ("lion_8bit", "bitsandbytes")],
)
def test_an_optimizer_without_its_package_is_refused_with_what_installs_it(
    optimizer: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers, "installed", lambda _: None)
    words = [f"trainer.optim={optimizer}", *(FREE if "free" in optimizer else [])]
    with pytest.raises(FrameworkError, match=f"trainer.optim={optimizer} needs {package}: pip install {package}$"):
        plan(*words)
    plan(*words, "stages=[plan]")  # that may be for another machine


def test_an_optimizer_that_fails_here_is_refused_where_adamw_would_be_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bitsandbytes.optim.Lion8bit.step", lambda *_: None)
    with pytest.raises(
        FrameworkError, match=r"^trainer.optim=lion_8bit changes nothing on this cpu. Set trainer.optim"
    ):
        hardware.pick(HFTrainerConfig(optim=Optimizer.lion_8bit, device=Device.cpu))


def test_stable_adamw_is_refused_where_it_would_run_on_triton_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    config = HFTrainerConfig(optim=Optimizer.stable_adamw, device=Device.cpu)
    monkeypatch.setattr(hardware, "installed", lambda _: None)
    assert hardware.pick(config).optimizer is Optimizer.stable_adamw
    monkeypatch.setattr(hardware, "installed", lambda _: "3.5.0")
    with pytest.raises(FrameworkError, match=r"and Triton needs a GPU: set trainer.optim=adamw_torch, or uninstall"):
        hardware.pick(config)


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


QUICK = (Optimizer.lion_8bit, Optimizer.schedule_free_adamw, Schedule.cosine, Schedule.warmup_stable_decay)
"""States in 8 bits, weights that change between training and evaluation, and schedules with noise and with stages."""


def each(kind: Iterable[Optimizer] | Iterable[Schedule]) -> list[Any]:
    """Return the members as parameters, those that repeat what `QUICK` shows as slow ones."""
    return [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow, id=one.value) for one in kind]


@pytest.mark.parametrize("optimizer", each(one for one in Optimizer if not one.value.startswith("paged")))
def test_a_training_is_resumed_bit_for_bit_with_each_optimizer(train: Train, optimizer: Optimizer) -> None:
    needs(optimizer)
    name, free = optimizer.value, optimizer in optimizers.SCHEDULE_FREE
    words = [f"trainer.optim={name}", *([*FREE, "trainer.warmup_steps=null"] if free else [])]
    words += ["trainer.optim_args={momentum: 0.9}"] if name == "sgd" else []
    whole, again = resumed(train, name, *words)
    assert again.weights == whole.weights
    assert [step.loss for step in again.steps] == [step.loss for step in whole.steps]
    assert len({step.loss for step in whole.steps}) > 1


RESUMED: dict[Schedule, list[str]] = {
    Schedule.linear: ["trainer.min_learning_rate=0.001"],
    Schedule.cosine: ["trainer.min_learning_rate=0.001", "trainer.neftune_noise_alpha=1"],
    Schedule.cosine_with_restarts: ["trainer.lr_scheduler_kwargs.num_cycles=2"],
    Schedule.cosine_with_min_lr: ["trainer.lr_scheduler_kwargs.min_lr_rate=0.1"],
    Schedule.cosine_warmup_with_min_lr: ["trainer.min_learning_rate=0.001"],
    Schedule.polynomial: ["trainer.lr_scheduler_kwargs.power=2"],
    Schedule.inverse_sqrt: ["trainer.lr_scheduler_kwargs.timescale=1"],
    Schedule.warmup_stable_decay: ["trainer.lr_scheduler_kwargs.num_decay_steps=2", "trainer.warmup_steps=null",
                                   "trainer.warmup_ratio=0.3"],
    Schedule.constant_with_warmup: ["trainer.warmup_steps=4"],
    Schedule.constant: ["trainer.warmup_steps=null"],
}  # fmt: skip


@pytest.mark.parametrize("schedule", each(Schedule))
def test_a_training_is_resumed_bit_for_bit_with_each_schedule(train: Train, schedule: Schedule) -> None:
    words = [f"trainer.lr_scheduler_type={schedule.value}", *RESUMED[schedule]]
    whole, again = resumed(train, schedule.value, *words)
    rates = [step.learning_rate for step in whole.steps]
    assert again.weights == whole.weights
    assert [step.learning_rate for step in again.steps] == rates
    # A schedule that started again after the checkpoint would have the rates of the first steps.
    assert schedule is Schedule.constant or rates[4:] != rates[:2]


def test_a_schedule_free_optimizer_answers_and_is_saved_with_its_average(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation loss is that of the weights that are kept, and training continues with its own."""
    needs(Optimizer.schedule_free_adamw)
    words = ["trainer.optim=schedule_free_adamw", *FREE, "trainer.warmup_steps=null"]
    averaged = train("averaged", *words, keep=2)
    monkeypatch.setattr("schedulefree.AdamWScheduleFree.eval", lambda _: None)
    own = train("own", *words, keep=2)
    assert [step.loss for step in averaged.steps] == pytest.approx([step.loss for step in own.steps], rel=1e-5)
    assert averaged.weights != own.weights
    assert [step.eval_loss for step in averaged.steps] != [step.eval_loss for step in own.steps]
