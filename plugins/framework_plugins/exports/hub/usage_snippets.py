"""How to use what was exported, as code that runs where the folder lies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from framework.api.protocols import ExportContext
from framework.api.records import Artifact, DataResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Stage
from framework.api.text import redact

ASK = """\
messages = {messages}
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"{switches}
)
output = model.generate(**inputs, max_new_tokens=256, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""
MERGED = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or its id on the Hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", device_map="auto")
"""
ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or its id on the Hub
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto", device_map="auto")
model = PeftModel.from_pretrained(base, folder)
"""


def system_prompt(context: ExportContext) -> str:
    """Return the system prompt that most training rows had, without secrets; empty if most had none."""
    data = RunFolder(context.run_dir).load_result(Stage.data, DataResult)
    # Without a record of the rows, or where few have a prompt of their own, the config's is what they were given.
    return str(redact((data.system_prompt if data else "") or context.plan.format.config.system_prompt or ""))


@dataclass(frozen=True)
class Use:
    """A way to use an artifact: a sentence, and code in a language."""

    text: str
    language: str
    code: str


@dataclass(frozen=True)
class Asking:
    """How the model is asked: the system prompt of the data, and the switches of the chat template."""

    system_prompt: str
    switches: Mapping[str, Any]

    def code(self) -> str:
        """Return the code that asks it something."""
        turns = [{"role": "user", "content": "…"}]
        if self.system_prompt:
            turns = [{"role": "system", "content": self.system_prompt}, *turns]
        switches = "".join(f", {name}={value!r}" for name, value in self.switches.items())
        return ASK.format(messages=json.dumps(turns, ensure_ascii=False), switches=switches)


def uses(artifacts: Sequence[Artifact], base: str, name: str, asking: Asking) -> Iterator[Use]:
    """Give the ways to use what lies in one folder.

    Args:
        artifacts: that lie there.
        base: Hub id of the base, or what it is called.
        name: of the run.
        asking: how the model is asked.
    """
    for artifact in artifacts:
        file = PurePosixPath(artifact.path).name
        match artifact.kind:
            case "merged":
                yield Use("With transformers:", "python", MERGED + asking.code())
            case "adapter":
                yield Use("With transformers and peft:", "python", ADAPTER.format(base=base) + asking.code())
            case "gguf":
                yield Use("With llama.cpp:", "bash", f"llama-cli -m {file} -cnv")
            case "gguf_adapter":
                text = "With llama.cpp and the base as GGUF:"
                yield Use(text, "bash", f"llama-cli -m BASE.gguf --lora {file} -cnv")
            case "ollama":
                yield Use("With Ollama:", "bash", f"ollama create {name} -f {file}\nollama run {name}")
