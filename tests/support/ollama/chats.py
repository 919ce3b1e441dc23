"""Chat templates in the form of well-known families, and how Ollama is told about their tokens.

The Jinja of some stands in ../templates, which is for whole tokenizers; here one is needed for its template alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from framework.api.records import Message
from framework.util.errors import FrameworkError, summarize_error
from framework_plugins.exports.ollama.tokens import Tokens

OWN, SHARED = Path(__file__).with_name("templates"), Path(__file__).parents[1] / "templates"


@dataclass(frozen=True, eq=False)
class Chat:
    """A chat template and its tokens; `bos` is put before each text by the GGUF file where it `adds` it."""

    name: str
    eos: str
    bos: str = ""
    adds: bool = False
    stops: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Name it in the list of tests."""
        return self.name

    @property
    def jinja(self) -> str:
        """The template."""
        file = f"{self.name}.jinja"
        return next(folder / file for folder in (OWN, SHARED) if (folder / file).exists()).read_text(encoding="utf-8")

    @property
    def tokens(self) -> Tokens:
        """What the exporter reads from the files of such a model."""
        return Tokens(self.bos, begins=self.adds, stops=(self.eos, *self.stops), template=self.jinja)

    def apply(self, messages: Sequence[Message], **settings: Any) -> str:
        """Render by `apply_chat_template`, with the opening of the answer."""
        text: str = _tokenizer(self.jinja, self.bos or None, self.eos).apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            tokenize=False,
            **{"add_generation_prompt": True, **self.settings, **settings},
        )
        return text

    def render(self, messages: Sequence[Message]) -> str:
        """Do the same as a model of the framework does.

        Raises:
            FrameworkError: the template refuses the turns.
        """
        try:
            return self.apply(messages)
        except Exception as error:
            raise FrameworkError(summarize_error(error)) from error


@functools.cache
def _tokenizer(jinja: str, bos: str | None, eos: str) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models

    core = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))  # noqa: S106 - no password
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=jinja, bos_token=bos, eos_token=eos)


LLAMA3 = Chat("llama3", "<|eot_id|>", "<|begin_of_text|>", adds=True, stops=("<|end_of_text|>",))
LLAMA2 = Chat("llama2", "</s>", "<s>", adds=True)
GEMMA = Chat("gemma", "<eos>", "<bos>", adds=True, stops=("<end_of_turn>",))
CHATS = [
    Chat("chatml", "<|im_end|>", "<|im_start|>"),
    Chat("chatml_plain", "<|im_end|>"),
    Chat("qwen2", "<|im_end|>"),
    Chat("qwen3", "<|im_end|>", settings={"enable_thinking": False}),
    LLAMA3,
    replace(LLAMA3, name="llama31"),
    replace(LLAMA3, name="llama32", settings={"date_string": "26 Jul 2024"}),
    LLAMA2,
    *(replace(LLAMA2, name=name) for name in ("mistral_v1", "mistral_v2", "mistral_v3", "mistral_v7")),
    GEMMA,
    replace(GEMMA, name="gemma3"),
    Chat("phi3", "<|endoftext|>", "<s>", stops=("<|end|>",)),
    Chat("phi3_old", "<|endoftext|>", "<s>", adds=True, stops=("<|end|>",)),
    Chat("phi4", "<|im_end|>"),
    Chat("zephyr", "</s>", "<s>"),
    Chat("vicuna", "</s>", "<s>"),
    Chat("deepseek_v3", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", adds=True),
    Chat("braces", "</s>"),
]
"""Those of which a TEMPLATE can be derived."""
