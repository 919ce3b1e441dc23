"""A config of another tool ends as the command of such a run here, read by its values."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from framework import FrameworkError
from framework.cli.arguments import check_options
from framework.config.other_tools import AXOLOTL, FACTORY, NAMES, TRL
from framework.config.translation import SPECIAL, translate
from tests.support.project import project

AXOLOTL_QLORA = """
base_model: NousResearch/Meta-Llama-3-8B
load_in_4bit: true
adapter: qlora
datasets:
  - {path: owner/chats, type: chat_template, field_messages: turns, split: "train[:100]"}
  - {path: more.jsonl, type: alpaca}
val_set_size: 0.05
sequence_len: 4096
sample_packing: true
lora_r: 32
lora_target_linear: true
lora_modules_to_save: [embed_tokens, lm_head]
wandb_project: mine
wandb_entity: me
optimizer: adamw_hf
lr_scheduler: cosine
bf16: auto
evals_per_epoch: 4
galore_rank: 8
special_tokens: {pad_token: "<|end_of_text|>"}
"""
AXOLOTL_OFF = """
base_model: a/b
load_in_8bit: false
load_in_4bit: false
datasets: [{path: owner/rows, type: alpaca}]
adapter: lora
train_on_inputs: false
fp16: false
tf32: false
gradient_checkpointing: false
flash_attention: false
peft_use_dora: false
deepspeed:
fsdp:
fsdp_config:
early_stopping_patience:
warmup_steps: 10
lora_dropout: 0
"""
FACTORY_DPO = """
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
stage: dpo
do_train: true
finetuning_type: lora
quantization_bit: 4
lora_target: q_proj,v_proj
pref_loss: sigmoid
pref_beta: 0.2
dataset: pairs, others
template: llama3
eval_strategy: steps
eval_steps: 500
report_to: [wandb, comet_ml]
save_steps: 200.0
"""
TRL_GRPO = """
model_name_or_path: Qwen/Qwen2-0.5B
dataset_name: owner/prompts
dataset_train_split: train
num_generations: 4
adam_beta2: 0.95
eval_strategy: epoch
eval_steps: 10
save_steps: 0.1
report_to: all
use_dora: true
use_peft: true
optim: galore_adamw
"""


@pytest.mark.parametrize(
    ("tool", "text", "overrides", "remarks"),
    [
        (
            AXOLOTL,
            AXOLOTL_QLORA,
            [
                "model=local", "model.path=NousResearch/Meta-Llama-3-8B", "quantization=nf4", "adapter=lora",
                "adapter.r=32", "adapter.modules_to_save=[embed_tokens,lm_head]", "data=hub", "data.path=owner/chats",
                "data.split='train[:100]'", "data.validation_split=0.05", "format.columns={messages:turns}",
                "trainer.max_seq_length=4096", "optimizer=adamw_torch", "schedule=cosine", "logger=[console,wandb]",
                "logger.wandb.project=mine", "logger.wandb.entity=me",
            ],
            {"datasets[1]", "evals_per_epoch", "galore_rank", "special_tokens"},
        ),
        (
            AXOLOTL,
            AXOLOTL_OFF,
            [
                "model=local", "model.path=a/b", "adapter=lora", "adapter.lora_dropout=0", "data=hub",
                "data.path=owner/rows", "format=alpaca", "trainer.warmup_steps=10",
            ],
            set(),
        ),
        (
            FACTORY,
            FACTORY_DPO,
            [
                "model=local", "model.path=meta-llama/Meta-Llama-3-8B-Instruct", "quantization=nf4", "adapter=lora",
                "adapter.target_modules=[q_proj,v_proj]", "data=local_file", "data.path={}/data/pairs.json",
                "format.columns={{chosen:better}}", "method=dpo", "method.loss_type=[sigmoid]", "method.beta=0.2",
                "trainer.eval_steps=500", "logger=[console,wandb]", "trainer.save_steps=200",
            ],
            {"dataset others", "template", "report_to"},
        ),
        (
            TRL,
            TRL_GRPO,
            [
                "model=local", "model.path=Qwen/Qwen2-0.5B", "adapter=dora", "data=hub", "data.path=owner/prompts",
                "data.split=train", "method.num_generations=4", "optimizer.betas=[0.9,0.95]",
            ],
            {"save_steps", "optim", "report_to"},
        ),
    ],
)  # fmt: skip
def test_settings_are_translated_by_value(
    tmp_path: Path, tool: str, text: str, overrides: list[str], remarks: set[str]
) -> None:
    (tmp_path / "data").mkdir()
    entry = {"file_name": "pairs.json", "ranking": True, "columns": {"chosen": "better", "messages": "conversations"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"pairs": entry}))
    translation = translate(tool, yaml.safe_load(text), tmp_path)
    if tool == FACTORY:
        overrides = [word.format(tmp_path) if "{}" in word or "{{" in word else word for word in overrides]
    assert sorted(translation.words()) == sorted(overrides)
    assert translation.remarks.keys() == remarks


def test_every_setting_that_is_off_says_nothing() -> None:
    for tool in (AXOLOTL, FACTORY, TRL):
        names = [name for name, each in NAMES.items() if tool in each.tools]
        values: list[Any] = [False, None, "", []]
        for off in values:
            translation = translate(tool, dict.fromkeys(names, off), Path())
            assert translation.words() == (["adapter=full"] if tool == AXOLOTL else []), (tool, off)
            assert not translation.remarks
    assert SPECIAL.keys() <= NAMES.keys()


def test_the_command_is_checked_as_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "off.yml").write_text(AXOLOTL_OFF)
    (tmp_path / "grpo.yaml").write_text(TRL_GRPO)
    with pytest.raises(FrameworkError) as translated:
        check_options(["off.yml"])
    head, command, *rest = str(translated.value).splitlines()
    assert head == "off.yml is a config of Axolotl. The command for such a run here, composed and checked:"
    assert "train_on_inputs" not in command
    assert shlex.split(command)[-1] == "trainer.warmup_steps=10"
    assert rest == []
    with pytest.raises(FrameworkError) as refused:
        check_options(["grpo.yaml"])
    lines = str(refused.value).splitlines()
    assert lines[0].endswith("with what the check refuses below it:")
    assert "method=grpo method.num_generations=4" in lines[1]
    assert lines[2].startswith("  refused: method=grpo learns from the model's own answers")
    assert lines[3:5] == ["not in it:", "  save_steps: trainer.save_steps is a number of steps, not a share of them"]
    assert lines[-1] == "  method: none is named: method=grpo has num_generations"


FACTORY_SFT = "model_name_or_path: a/b\nfinetuning_type: lora\ncutoff_len: 64\ndataset: pairs\n"
TRL_DPO = "model_name_or_path: a/b\ndataset_name: owner/pairs\nbeta: 0.2\nuse_peft: true\n"
OF_DPO = "model=local model.path=a/b adapter=lora data=hub data.path=owner/pairs method=dpo method.beta=0.2"


@pytest.mark.parametrize(
    ("text", "command", "remark"),
    [
        (
            FACTORY_SFT,
            "model=local model.path=a/b adapter=lora data=local_file data.path=FILE.jsonl trainer.max_seq_length=64",
            "  dataset: pairs: there is no data/dataset_info.json here, which says what it is. Put its file instead of "
            "FILE.jsonl, or set data=hub data.path=OWNER/NAME",
        ),
        (
            "base_model: a/b\nadapter: lora\nlora_r: 8\nsequence_len: 64\n",
            "model=local model.path=a/b adapter=lora adapter.r=8 data=local_file data.path=FILE.jsonl "
            "trainer.max_seq_length=64",
            "  data: none is named: put your file instead of FILE.jsonl",
        ),
        (TRL_DPO, OF_DPO, "  method: none is named: method=dpo|kto|orpo|cpo|simpo|grpo has beta"),
    ],
)
def test_a_command_names_data_and_a_method_and_is_no_error(
    text: str, command: str, remark: str, tmp_path: Path
) -> None:
    result = project(tmp_path, {"other.yaml": text}).run("other.yaml")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[1].endswith(f"framework {command}")
    assert result.out.splitlines()[-1] == remark


def test_a_command_that_is_refused_is_an_error(tmp_path: Path) -> None:
    result = project(tmp_path, {"grpo.yaml": TRL_GRPO}).run("grpo.yaml")
    assert (result.code, result.out) == (2, "")
    assert "refused: method=grpo learns from the model's own answers" in result.err
