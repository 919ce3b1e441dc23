"""The names of other tools are answered with ours; the page for those who come from them has the same tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from framework import FrameworkError
from framework.cli.arguments import check_options
from framework.config.other_tools import NAMES, OPTIONS, VALUES, equivalent_of
from framework.plan.load import load_plan
from framework.testing import compose
from tests.support.other_tools_page import PAGE, page


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
        ("rl=dpo", "it is called method here: type method=dpo (dpo, kto, orpo, simpo or grpo)."),
        ("rl=ipo", "it is method=dpo method.loss_type=[ipo] here."),
        ("load_in_4bit=false", "it is quantization=nf4 here if it is on: leave it out."),
        ("lr=1e-4", "unknown key 'lr'. Did you mean trainer.learning_rate or "),
        ("epochs=3", "unknown key 'epochs'. Did you mean trainer.num_train_epochs?"),
        ("batch_size=4", "unknown key 'batch_size'. Did you mean trainer.per_device_train_batch_size?"),
        ("quantization=4bit", "quantization=4bit is quantization=nf4 here"),
        ("model=Qwen/Qwen3-4B", "a path or an id, not an option: type model=local model.path=Qwen/Qwen3-4B"),
        ("data=my.csv", "a path or an id, not an option: type data=local_file data.path=my.csv"),
        ("data=owner/rows", "a path or an id, not an option: type data=hub data.path=owner/rows"),
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
    configs = [compose(words), compose(["data=hub"])]
    by_value = [each for name, values in VALUES.items() for value in values if (each := equivalent_of(name, value))]
    assert len(by_value) == sum(map(len, VALUES.values()))
    for each in [*NAMES.values(), *OPTIONS.values(), *by_value]:
        for word in each.here.split():
            *above, name = word.partition("=")[0].split(".")
            nodes = [OmegaConf.select(config, ".".join(above)) if above else config for config in configs]
            assert any(node is not None and name in list(node) for node in nodes), word
        assert each.here or each.why


def test_the_page_has_the_same_tables() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "run `make reference`"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.yaml", "seed: 1\n", "x.yaml is a file, not an override: make it an experiment, ./conf/experiment/x.yaml"),
        ("x.yml", "a: [\n", "x.yml:2: not valid YAML: "),
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
