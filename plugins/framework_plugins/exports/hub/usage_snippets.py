"""How to use what was exported, as code that runs where the folder lies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from framework.api import Artifact

CHAT_CODE = """\
messages = {messages}
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"{switches}
)
output = model.generate(**inputs, max_new_tokens=256, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""
MERGED_CODE = """\
from transformers import {kind}, AutoTokenizer

folder = "."  # this folder, or its id on the Hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {kind}.from_pretrained(folder, dtype="auto", device_map="auto")
"""
ADAPTER_CODE = """\
from peft import PeftModel
from transformers import {kind}, AutoTokenizer

folder = "."  # this folder, or its id on the Hub
tokenizer = AutoTokenizer.from_pretrained(folder)
base = {kind}.from_pretrained("{base}", dtype="auto", device_map="auto")
{resize}model = PeftModel.from_pretrained(base, folder)
"""
RESIZE_CODE = "base.resize_token_embeddings(max(len(tokenizer), base.config.vocab_size))  # for its new tokens\n"


@dataclass(frozen=True)
class UsageSnippet:
    """A way to use an artifact: a sentence, and code in a language."""

    text: str
    language: str
    code: str


@dataclass(frozen=True)
class ChatSettings:
    """The system prompt of the data, and the switches of the chat template."""

    system_prompt: str
    switches: Mapping[str, Any]

    def code(self) -> str:
        """Return the code that asks the model a question."""
        turns = [{"role": "user", "content": "…"}]
        if self.system_prompt:
            turns = [{"role": "system", "content": self.system_prompt}, *turns]
        switches = "".join(f", {name}={value!r}" for name, value in self.switches.items())
        return CHAT_CODE.format(messages=json.dumps(turns, ensure_ascii=False), switches=switches)


def usage_snippets(
    artifacts: Sequence[Artifact], base: str, name: str, chat: ChatSettings, kind: str, *, new_tokens: bool
) -> Iterator[UsageSnippet]:
    """Return the ways to use the artifacts in one folder.

    Args:
        artifacts: that lie there.
        base: Hub id or name of the base.
        name: of the run.
        chat: how the model is asked.
        kind: the class of transformers that loads the model.
        new_tokens: whether the adapter trains tokens that the base may lack.
    """
    for artifact in artifacts:
        file = PurePosixPath(artifact.path).name
        match artifact.kind:
            case "merged":
                yield UsageSnippet("With transformers:", "python", MERGED_CODE.format(kind=kind) + chat.code())
            case "adapter":
                code = ADAPTER_CODE.format(base=base, kind=kind, resize=RESIZE_CODE if new_tokens else "")
                yield UsageSnippet("With transformers and peft:", "python", code + chat.code())
            case "gguf":
                yield UsageSnippet("With llama.cpp:", "bash", f"llama-cli -m {file} -cnv")
            case "gguf_adapter":
                text = "With llama.cpp and the base as GGUF:"
                yield UsageSnippet(text, "bash", f"llama-cli -m BASE.gguf --lora {file} -cnv")
            case "ollama":
                yield UsageSnippet("With Ollama:", "bash", f"ollama create {name} -f {file}\nollama run {name}")
