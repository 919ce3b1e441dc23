"""llama.cpp and Ollama begin a conversation with the bos token exactly where the training did."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from transformers import AutoTokenizer

from framework import testing
from framework.api.protocols import ExportContext, Model
from framework.api.records import Artifact, Message, Prompt
from framework_plugins.exports import chat_template
from framework_plugins.exports.config import OllamaExporterConfig
from framework_plugins.exports.gguf_vocabulary import ADD_BOS, TALKS, Vocabulary
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantize import quantize
from framework_plugins.exports.ollama.exporter import OllamaExporter
from framework_plugins.hf.chat import Chat
from tests.support.ggufs import converted, tiny_model
from tests.support.ollama import Asked, parsed, rendered
from tests.support.tiny import tiny_llama

ZEPHYR = (Path(__file__).parents[3] / "tests" / "support" / "ollama" / "templates" / "zephyr.jinja").read_text("utf-8")
SOME = "{% if messages | length == 1 %}{{ bos_token }}{% endif %}" + ZEPHYR
"""Writes it before some conversations only."""
CASES = {
    "pieces": ("mistral", "", True),  # Mistral's own template writes it, and its tokenizer puts it
    "pieces_zephyr": ("phi3", ZEPHYR, False),
    "pieces_some": ("phi3", SOME, False),
    "bytes": ("llama3", "", True),  # Llama 3's, with a tokenizer that puts it too
    "bytes_zephyr": ("llama3", ZEPHYR, False),
    "none": ("qwen2", "", False),  # there is no bos token
}
"""By a name: the model, another chat template than its own, and whether its file puts the token."""


class Case(NamedTuple):
    """A model folder, its file as llama.cpp's converter writes it, and as the exporter changes it."""

    folder: Path
    plain: Path
    made: Path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Return all of them, converted in one process."""
    target = tmp_path_factory.mktemp("first")
    folders = [_folder(target / name, model, template) for name, (model, template, _) in CASES.items()]
    found = {}
    for name, plain in converted(folders, target).items():
        vocabulary, made = Vocabulary.read(target / name), target / f"{name}-made.gguf"
        quantize(plain, made, "f16", threads=1, settings=vocabulary.amendments(plain))
        vocabulary.check(made)
        found[name] = Case(target / name, plain, made)
    return found


def _folder(folder: Path, model: str, template: str) -> Path:
    tiny_llama(folder) if model == "llama3" else tiny_model(folder, model)
    if template:
        chat_template.put(folder, template)
    return folder


def tokens(folder: Path, talk: Sequence[Message]) -> list[int]:
    """Return the ids that a training sees."""
    turns = [{"role": message.role, "content": message.content} for message in talk]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def texts(folder: Path) -> list[tuple[Sequence[Message], str]]:
    """Return conversations that the template takes, and what it writes."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = Chat(tokenizer, frozenset())
    return [(talk, chat.prompt(talk)) for talk in (TALKS[0], TALKS[2])]


@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_makes_the_tokens_of_the_training(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    with Llama(case.made, vocabulary_only=True) as llama:
        assert llama.adds_bos is CASES[name][2]
        assert llama.metadata(ADD_BOS) == str(CASES[name][2]).lower()
        for talk, text in texts(case.folder):
            assert llama.read(text) == tokens(case.folder, talk)


@pytest.mark.parametrize("name", ["pieces_zephyr", "bytes_zephyr"])
def test_a_converted_file_by_itself_would_begin_otherwise(cases: dict[str, Case], name: str) -> None:
    """What the exporter changes is needed: the converter's own file has a token more."""
    case = cases[name]
    talk, text = texts(case.folder)[0]
    with Llama(case.plain, vocabulary_only=True) as llama:
        first, *rest = llama.read(text)
        assert rest == tokens(case.folder, talk)
        assert llama.text([first]) in {"<s>", "<|begin_of_text|>"}


@pytest.mark.parametrize("name", ["pieces", "pieces_zephyr", "bytes", "bytes_zephyr", "none"])
def test_ollama_is_given_a_template_that_leads_to_the_same_tokens(
    cases: dict[str, Case], name: str, tmp_path: Path
) -> None:
    case = cases[name]
    tokenizer = AutoTokenizer.from_pretrained(case.folder)
    chat = Chat(tokenizer, frozenset())

    class Speaks:
        """A model that can write a conversation and save its tokenizer."""

        def render(self, prompt: Prompt) -> str:
            return chat.prompt(prompt.messages)

        def save_tokenizer(self, folder: Path) -> None:
            tokenizer.save_pretrained(folder)

    (tmp_path / "gguf").mkdir()
    shutil.copyfile(case.made, tmp_path / "gguf" / "run-F16.gguf")
    plan = testing.plan(["stages=[export]"], run_dir=tmp_path)
    made = (Artifact("gguf", "gguf/run-F16.gguf", 1),)
    context = ExportContext(tmp_path, plan.checkpoint, plan.config, plan, made)
    (artifact,) = OllamaExporter(OllamaExporterConfig()).export(cast("Model", Speaks()), context)
    values: dict[str, Any] = dict(parsed((tmp_path / artifact.path).read_text(encoding="utf-8")))
    talks = texts(case.folder)
    with Llama(case.made, vocabulary_only=True) as llama:
        for (talk, _), text in zip(
            talks, rendered([Asked(values["TEMPLATE"], talk) for talk, _ in talks]), strict=True
        ):
            assert llama.tokenize(text, add_special=True) == tokens(case.folder, talk)  # as Ollama calls it
