"""The names of other tools are answered with ours; the page for those who come from them has the same tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from framework import FrameworkError
from framework.cli.arguments import check_options
from framework.config.other_tools import AXOLOTL, FACTORY, NAMES, OPTIONS, TRL
from framework.plan.load import load_plan
from framework.testing import compose

PAGE = Path(__file__).parents[3] / "docs" / "tutorial" / "coming-from.md"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("lora_r=32", "lora_r=32: unknown key 'lora_r': it is called adapter.r here: type adapter.r=32."),
        (
            "+trainer.micro_batch_size=1",
            "it is called trainer.per_device_train_batch_size here: type trainer.per_",
        ),
        ("deepspeed=ds.json", "unknown key 'deepspeed': it is launch=fsdp2 here (there is no DeepSpeed; FSDP2"),
        ("base_model=a/b", "it is model=local model.path=a/b here."),
        ("rl=dpo", "it is called method here: type method=dpo (dpo, kto, orpo or simpo)."),
        (
            "trainer.callbacks=[mine]",
            "unknown key 'trainer.callbacks': it is callback=[NAME] here",
        ),
        ("trainer=dpo", "trainer=dpo is method=dpo here"),
        ("trainer=sft", "trainer=sft is trainer=hf here (the default)"),
        ("adapter=qlora", "adapter=qlora is quantization=nf4 adapter=lora here"),
    ],
)
def test_a_setting_of_another_tool_is_answered_with_ours(word: str, told: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        load_plan([word])
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_what_is_to_be_typed_exists() -> None:
    words = ["exporter=[adapter,push]", "logger=[console,wandb]", "data=local_file", "model=local", "method=dpo"]
    words += ["launch=fsdp2"]
    config = compose(words)
    for each in [*NAMES.values(), *OPTIONS.values()]:
        for word in each.here.split():
            *above, name = word.partition("=")[0].split(".")
            node = OmegaConf.select(config, ".".join(above)) if above else config
            assert name in list(node), word
        assert each.here or each.why


@pytest.mark.parametrize("tool", [AXOLOTL, FACTORY, TRL])
def test_the_page_has_the_same_names(tool: str) -> None:
    section = PAGE.read_text(encoding="utf-8").partition(f"## {tool}\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    shown = {name: right for left, right in rows for name in re.findall(r"`(\w+)`", left)}
    here = {name: each for name, each in NAMES.items() if tool in each.tools}
    assert here.keys() == {name for name in shown if "_" in name or name in NAMES}
    for name, each in here.items():
        keys = [word.partition("=")[0] for word in each.here.split()] or ["not available"]
        assert all(key in shown[name] or "same names" in shown[name] for key in keys), name


def test_a_config_of_another_tool_is_translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yml").write_text(
        "base_model: a/b\nadapter: qlora\nlora_r: 8\nrl: dpo\ndatasets: [{path: x}]\nfoo: 1\n"
    )
    with pytest.raises(FrameworkError) as refused:
        check_options(["a.yml"])
    head, *lines = str(refused.value).splitlines()
    assert head == "a.yml is a config of Axolotl, which is not read here. Its settings as overrides:"
    assert lines[:3] == [
        "  base_model: model=local model.path=a/b", "  adapter: quantization=nf4 adapter=lora", "  lora_r: adapter.r=8",
    ]  # fmt: skip
    assert lines[3] == "  rl: method=dpo (dpo, kto, orpo or simpo)"
    assert lines[-1] == "  not known: foo"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.yaml", "seed: 1\n", "x.yaml is a file, not an override: make it an experiment, ./conf/experiment/x.yaml"),
        ("x.yml", "a: [\n", "x.yml is not valid YAML: "),
        ("y.yml", "seed: 1\n", "x.yml cannot be read: No such file"),
    ],
)
def test_another_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(FrameworkError, match=told):
        check_options(["x.yaml" if name == "x.yaml" else "x.yml"])
