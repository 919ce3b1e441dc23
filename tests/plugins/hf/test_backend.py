"""hf/backend.py and model.py on a tiny random model: all parts are real, the weights small."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.api.records import Message, Progress, Prompt
from framework.hooks.session import current
from framework.memory import Shape
from framework.util.errors import FrameworkError
from framework.util.gpus import Gpu
from framework.util.host import GIB
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.settings.pass_size import PassLimits
from tests.support import plain_peft
from tests.support.forked_program import trainers
from tests.support.training import make, opened, train

PROMPTS = [Prompt((Message("user", text),)) for text in ("Count to three", "Say hello to everyone in the room")]


def answers(model: HFModel) -> list[str]:
    return [answer.text for answer in model.generate(PROMPTS, max_new_tokens=12, batch_size=2)]


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_gpu_makes_passes_as_large_as_fit_and_keeps_what_leaves_room(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(make(base, rows, tmp_path)) as (model, data):
        plan, source = model.plan, model.source
        assert hardware.choose_passes(model.machine, plan, source, data.train) == (model.machine, PassLimits(1024))
        assert model.facts["passes"] == "of at most 1,024 tokens"
        card = dataclasses.replace(model.machine, device="cuda", checkpointing=True)
        for size, on in ((2 * GIB, False), (GIB // 2, True)):
            monkeypatch.setattr(hardware, "available_gpu", lambda _, size=size: Gpu("a GPU", size, size))
            chosen, limits = hardware.choose_passes(card, plan, source, data.train)
            assert (chosen.checkpointing, limits.kept is None) == (on, on)
            if not on:
                assert model.facts[hardware.CHECKPOINTING] == f"only in passes of more than {limits.kept} tokens"
        fact = rf"of at most {limits.tokens} tokens \(at most \d\.\d GiB are needed, and \d+ are free\)"
        assert re.fullmatch(fact, model.facts["passes"])
        monkeypatch.setattr(Shape, "from_config", _unknown)
        assert hardware.choose_passes(card, plan, source, data.train) == (card, PassLimits())


def _unknown(*_: object) -> Shape:
    raise FrameworkError("config.json does not say how many layers there are")


def test_training_lowers_the_loss_and_the_base_stays_as_it_was(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[Progress] = []
    with opened(make(base, rows, tmp_path, "trainer.max_steps=30")) as (model, data):
        first, before = model.loss(data.validation), answers(model)
        frozen = {name: weight.clone() for name, weight in model.model.named_parameters() if "lora_" not in name}
        with monkeypatch.context() as listening:
            listening.setattr(current().progress, "send", counts.append)
            result, steps = train(model, data, tmp_path)
        assert model.loss(data.validation) < first - 0.5
        assert all(torch.equal(weight, dict(model.model.named_parameters())[name]) for name, weight in frozen.items())
        with model.as_base():
            assert answers(model) == before
            assert model.loss(data.validation) == pytest.approx(first, rel=1e-6)
    assert result.steps == 30
    assert [step.step for step in steps] == list(range(1, 31))
    assert steps[-1].total_steps == 30
    assert steps[-1].tokens == result.tokens > result.supervised_tokens > 0
    assert steps[0].learning_rate < steps[1].learning_rate
    assert any(step.eval_loss is not None for step in steps)
    assert {(count.task, count.unit) for count in counts} == {("validation", "row"), ("the first step", "")}
    assert not (tmp_path / "scratch").exists()


def test_two_runs_with_one_seed_give_the_same_adapter_bit_for_bit(base: Path, rows: Path, tmp_path: Path) -> None:
    made = []
    for name, extra in (("one", ""), ("two", ""), ("other", "seed=7")):
        folder = tmp_path / name
        words = ["adapter.lora_dropout=0.1", *filter(None, [extra])]
        plan = make(base, rows, folder, *words)
        with opened(plan) as (model, data):
            if name == "two":
                answers(model)  # what was evaluated before must not matter
                model.loss(data.validation)
            train(model, data, folder)
        made.append(digest(folder / "checkpoint" / "adapter_model.safetensors"))
    assert made[0] == made[1] != made[2]


def test_a_saved_adapter_says_the_same_in_a_new_process_with_plain_peft(base: Path, rows: Path, tmp_path: Path) -> None:
    with opened(make(base, rows, tmp_path, "adapter=rslora")) as (model, data):
        train(model, data, tmp_path)
        model.save_tokenizer(tmp_path / "checkpoint")
        here = answers(model)
    prompts = [prompt.messages[0].content for prompt in PROMPTS]
    there = plain_peft.answers(tmp_path / "checkpoint", prompts, max_new_tokens=12, dtype="fp32", of=trainers())
    assert there == here


def test_full_fine_tuning_trains_and_saves_all_weights(base: Path, rows: Path, tmp_path: Path) -> None:
    plan = make(base, rows, tmp_path, "adapter=full")
    with opened(plan) as (model, data):
        result, _ = train(model, data, tmp_path)
        assert result.trainable_parameters == result.total_parameters
        here = answers(model)
        with pytest.raises(FrameworkError, match="it can be asked only before the training"):
            model.as_base()
    assert digest(tmp_path / "checkpoint" / "model.safetensors") != digest(base / "model.safetensors")
    with opened(plan) as (model, _):
        untrained = answers(model)
        model.restore(tmp_path / "checkpoint")
        assert answers(model) == here != untrained


@pytest.mark.parametrize("words", [["trainer.dtype=bf16"], ["trainer.dtype=bf16", "adapter=full"]])
def test_restored_weights_answer_as_they_did(base: Path, rows: Path, tmp_path: Path, words: list[str]) -> None:
    plan = make(base, rows, tmp_path, *words)
    with opened(plan) as (model, data):
        train(model, data, tmp_path)
        here, loss = answers(model), model.loss(data.validation)
    with opened(plan) as (model, data):
        model.restore(tmp_path / "checkpoint")
        assert answers(model) == here
        assert model.loss(data.validation) == loss


@pytest.mark.parametrize(("stage", "loaded"), [("evaluate", 1), ("export", 0)])
def test_a_run_that_measures_nothing_loads_no_weights(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, loaded: int
) -> None:
    with opened(make(base, rows, tmp_path, f"stages=[data,{stage}]", "adapter=full")) as (model, data):
        load, seen = model.load, list[Path]()

        def noted(folder: Path, config: Any) -> Any:
            seen.append(folder)
            return load(folder, config)

        monkeypatch.setattr(model, "load", noted)
        model.restore(base)  # weights of the model itself
        assert seen == [base] * loaded
        assert model.loss(data.validation) > 0
        assert seen == [base]


def test_a_quantized_base_trains_an_adapter_on_this_machine(base: Path, rows: Path, tmp_path: Path) -> None:
    with opened(make(base, rows, tmp_path, "quantization=int8")) as (model, data):
        first = model.loss(data.validation)
        train(model, data, tmp_path)
        kinds = {type(module).__name__ for module in model.model.modules()}
        assert "Linear8bitLt" in kinds
        assert model.loss(data.validation) < first
    assert (tmp_path / "checkpoint" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["adapter.target_modules=[q_prj]"], "adapter.target_modules: unknown layer 'q_prj'. Did you mean 'q_proj'"),
        (
            ["adapter.rank_pattern={dwn_proj: 8}"],
            "adapter.rank_pattern fits no adapted layer: unknown layer 'dwn_proj'. Did you mean 'down_proj'",
        ),
        (["adapter.alpha_pattern={q_proj: 8}", "adapter.target_modules=[v_proj]"], "fits no adapted layer: .* v_proj"),
        (["adapter.args.exclude_modules=[k_prj]"], "adapter.args.exclude_modules fits no adapted layer: unknown layer"),
        (["adapter=full", "quantization=nf4"], "adapter=full trains all weights"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    base: Path, rows: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    with (
        pytest.raises(FrameworkError, match=told),
        opened(make(base, rows, tmp_path, *words)) as (model, data),
    ):
        model.loss(data.validation)


def broken(base: Path, folder: Path, **changes: Any) -> Path:
    """Copy the tiny model with files changed: None leaves a file out, a dict is merged into its JSON."""
    folder.mkdir()
    for file in base.iterdir():
        change = changes.get(file.name.replace(".", "_"), {})
        if isinstance(change, dict):
            text = file.read_bytes()
            (folder / file.name).write_bytes(json.dumps(json.loads(text) | change).encode() if change else text)
    return folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_safetensors": None}, r"the folder has no weights, no file \*\.safetensors$"),
        ({"chat_template_jinja": None}, r"no chat template.*model\.chat_template=FILE"),
        ({"config_json": {"model_type": "no_such_model"}}, "does not know model_type=no_such_model: install a newer"),
        ({"config_json": {"auto_map": {"AutoConfig": "own.Config"}, "model_type": "x"}}, "trust_remote_code=true"),
    ],
    ids=["no weights", "no template", "unknown architecture", "own code"],
)
def test_a_model_that_cannot_be_used_is_refused(
    base: Path, rows: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    folder = broken(base, tmp_path / "broken", **changes)
    with (
        pytest.raises(FrameworkError, match=told),
        opened(make(folder, rows, tmp_path)) as (model, data),
    ):
        model.loss(data.validation)


def test_thinking_is_set_where_the_template_reads_it_and_refused_where_it_does_not(
    base: Path, rows: Path, tmp_path: Path
) -> None:
    begin = "<|start_header_id|>{{ m.role }}<|end_header_id|>{{ m.content }}<|eot_id|>"
    thought = "{% if not enable_thinking | default(true) %}<think></think>{% endif %}"
    opening = "<|start_header_id|>assistant<|end_header_id|>" + thought
    text = f"{{% for m in messages %}}{begin}{{% endfor %}}{{% if add_generation_prompt %}}{opening}{{% endif %}}"
    thinks, silent = tmp_path / "thinks.jinja", tmp_path / "silent.jinja"
    thinks.write_text(text, encoding="utf-8")
    silent.write_text(text.replace("default(true)", "default(false)"), encoding="utf-8")
    with opened(make(base, rows, tmp_path, f"model.chat_template={thinks}", "model.thinking=on")) as (model, _):
        assert model.facts["thinking"] == "on (enable_thinking=true in the chat template)"
        assert "<think>" not in model.render(PROMPTS[0])
    for words, message in (
        ([f"model.chat_template={silent}"], r"^rows\.jsonl:1: .*: set model\.thinking=on, with which all 12 rows"),
        (["model.thinking=off"], r"reads neither enable_thinking nor thinking: leave model\.thinking=auto$"),
    ):
        with pytest.raises(FrameworkError, match=message), opened(make(base, rows, tmp_path, *words)):
            pass
