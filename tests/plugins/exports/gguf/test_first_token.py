"""llama.cpp and Ollama write conversations as the training did, and begin them with the bos token where it did."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from transformers import AutoTokenizer

from framework.api import PythonProcess
from framework.api.records import Message, Prompt, ToolCall
from framework_plugins.exports import chat_template
from framework_plugins.exports.chat_template import SAMPLE_CONVERSATIONS
from framework_plugins.exports.gguf.metadata import ADD_BOS_KEY, Vocabulary
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantizations import quantize
from framework_plugins.exports.parity.conversations import ConversationResult, compare_in_server, render_conversations
from tests.support.ggufs import converted, tiny_model
from tests.support.speaks import Speaks
from tests.support.tiny import tiny_llama

TEMPLATES = Path(__file__).parents[4] / "tests" / "support" / "templates"
ZEPHYR, LLAMA31, PHI3 = ((TEMPLATES / f"{name}.jinja").read_text("utf-8") for name in ("zephyr", "llama31", "phi3_old"))
THINKS = "{{ '<think>' if enable_thinking }}" + ZEPHYR
SOME = "{% if messages | length == 1 %}{{ bos_token }}{% endif %}" + ZEPHYR
"""Writes it before some conversations only."""
CASES = {
    "pieces": ("mistral", "", True),  # Mistral's own template writes it, and its tokenizer puts it
    "pieces_zephyr": ("phi3", ZEPHYR, False),
    "pieces_some": ("phi3", SOME, False),
    "bytes": ("llama3", "", True),  # Llama 3's, with a tokenizer that puts it too
    "bytes_zephyr": ("llama3", ZEPHYR, False),
    "none": ("qwen2", "", False),  # there is no bos token
    "dated": ("llama3", LLAMA31, True),  # llama.cpp gives today's date, and the template writes one of its own
    "thinks": ("qwen2", THINKS, False),  # llama.cpp has every template think
    "tools": ("qwen3", "", False),
    "drops": ("phi3", PHI3, True),  # it leaves system prompts out, which llama.cpp puts into the user's turn
}
"""By a name: the model, another chat template than its own, and whether its file puts the token."""
NO_SYSTEM = ("drops",)


class Case(NamedTuple):
    """The tokenizer of a training, its file as llama.cpp's converter writes it, and as the exporter changes it."""

    tokenizer: Any
    plain: Path
    made: Path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Return all of them, converted in one process."""
    target = tmp_path_factory.mktemp("first")
    folders = [_folder(target / name, model, template) for name, (model, template, _) in CASES.items()]
    tokenizers = {folder.name: AutoTokenizer.from_pretrained(folder) for folder in folders}
    vocabularies = {folder.name: Vocabulary.read(folder) for folder in folders}
    for folder in folders:
        chat_template.write_template(folder, vocabularies[folder.name].template)
    found = {}
    for name, plain in converted(folders, target).items():
        vocabulary, made = vocabularies[name], target / f"{name}-made.gguf"
        quantize(plain, made, "f16", threads=1, settings=vocabulary.metadata_overrides(plain))
        vocabulary.check(made)
        found[name] = Case(tokenizers[name], plain, made)
    return found


@pytest.fixture(scope="module")
def process() -> Iterator[PythonProcess]:
    with PythonProcess() as process:
        yield process


@pytest.fixture
def served(process: PythonProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let all servers run in one process, which is faster; test_conversations.py has one for each."""

    def call(_: str, function: str, __: Path, *, seconds: float, **arguments: Any) -> Any:
        return process.call(function, seconds=seconds, **arguments)

    monkeypatch.setattr("framework_plugins.exports.parity.conversations.run_in_process", call)
    return tmp_path / "log"


def _folder(folder: Path, model: str, template: str) -> Path:
    tiny_llama(folder) if model == "llama3" else tiny_model(folder, model)
    if template:
        chat_template.write_template(folder, template)
    return folder


def texts(tokenizer: Any) -> list[tuple[str, list[int]]]:
    """Return conversations as a training writes them, and their ids."""
    model = Speaks(tokenizer)
    found = [model.chat.prompt(talk) for talk in (SAMPLE_CONVERSATIONS[0], SAMPLE_CONVERSATIONS[2])]
    return [(text, model.tokenize(text)) for text in found]


@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_makes_the_tokens_of_the_training(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    with Llama(case.made, vocabulary_only=True) as llama:
        assert llama.adds_bos is CASES[name][2]
        assert llama.metadata(ADD_BOS_KEY) == str(CASES[name][2]).lower()
        for text, ids in texts(case.tokenizer):
            assert llama.tokenize_prompt(text) == ids


@pytest.mark.parametrize("name", CASES)
def test_the_server_writes_and_reads_conversations_as_the_training(
    cases: dict[str, Case], name: str, served: Path
) -> None:
    model = Speaks(cases[name].tokenizer)
    asked = list(render_conversations(model, ()))
    assert len(asked) == 2 + 2 * (name not in NO_SYSTEM)
    assert compare_in_server(model, cases[name].made, asked, served) == ConversationResult()


def test_the_server_shows_the_token_that_a_converted_file_has_more(cases: dict[str, Case], served: Path) -> None:
    model = Speaks(cases["bytes_zephyr"].tokenizer)
    problem = compare_in_server(
        model, cases["bytes_zephyr"].plain, list(render_conversations(model, ())), served
    ).problem
    assert re.fullmatch(r"llama.cpp reads the turns user as \d+ tokens that are not the tokenizer's", problem)


def test_a_template_that_nobody_trained_with_is_shown_where_it_differs(cases: dict[str, Case], served: Path) -> None:
    model = Speaks(cases["bytes"].tokenizer)
    problem = compare_in_server(
        model, cases["bytes_zephyr"].made, list(render_conversations(model, ())), served
    ).problem
    assert problem.startswith("llama.cpp's chat template writes the turns user differently, '<|user|>")
    assert "instead of '<|begin_of_text|>" in problem


def test_calls_of_tools_and_their_answers_are_compared_too(cases: dict[str, Case], served: Path) -> None:
    model, number = Speaks(cases["tools"].tokenizer), {"type": "number"}
    schema = {"type": "object", "properties": {"a": number, "b": number}, "required": ["a"]}
    function = {"name": "add", "description": "Adds.", "parameters": schema}
    tool = {"type": "function", "function": function}
    turns = (
        Message("user", "17 + 2.5?"),
        Message("assistant", "", (ToolCall("add", {"a": 17, "b": 2.5}, "c1"),), reasoning_content="I add."),
        Message("tool", "19.5", name="add", tool_call_id="c1"),
    )
    asked = [each for each in render_conversations(model, [Prompt(turns, tools=(tool,))]) if each.prompt.tools]
    assert '"a": 17, "b": 2.5' in asked[0].text
    assert compare_in_server(model, cases["tools"].made, asked, served) == ConversationResult()
    for call in (turns[1], replace(turns[1], tool_calls=(ToolCall("add", {"a": 1.0}, "c1"),))):
        strict = {"type": "function", "function": {**function, "strict": True}}
        asked = list(render_conversations(model, [Prompt((turns[0], call, turns[2]), tools=(strict,))]))
        compared = compare_in_server(model, cases["tools"].made, asked, served)
        assert (compared.problem, compared.not_checked) == ("", "")
        assert "llama.cpp's chat template writes the turns user, assistant, tool differently" in compared.tools
