"""parity/companion_check.py: what a program reads beside the weights is that of the training."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from framework import testing
from framework.api.records import Message, Prompt, ToolCall
from framework_plugins.exports import export_folder
from framework_plugins.exports.merge import tokenizer_and_config
from framework_plugins.exports.parity.check_rows import CheckRow
from framework_plugins.exports.parity.companion_check import (
    TrainedTokens,
    folder_problem,
    folder_stop_ids,
    lost_window,
    metadata_problem,
    stops_early,
)
from framework_plugins.exports.parity.conversations import RenderedConversation, render_conversations
from framework_plugins.lib.chat_templates import CHAT_TEMPLATES
from tests.support.ggufs import tiny_model
from tests.support.speaks import Speaks

TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
TALKS = (
    Prompt((Message("user", "How many?"), Message("assistant", "Two."), Message("user", "Sure?"))),
    Prompt(
        (Message("user", "1.0 + 2?"), Message("assistant", "", (ToolCall("add", {"a": 1.0}, "c1"),))), tools=(TOOL,)
    ),
)


def setting(file: str, **values: Any) -> Callable[[Path], None]:
    """Return what changes settings of a JSON file of a folder; None takes one away."""

    def change(folder: Path) -> None:
        path = folder / file
        settings = {**json.loads(path.read_text(encoding="utf-8")), **values}
        path.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))

    return change


def template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}USER SAYS {{ m.content }}{% endfor %}")


def refusing(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('never') }}")


def no_tokenizer(folder: Path) -> None:
    for name in export_folder.TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)


def more_tokens(folder: Path) -> None:
    (folder / "added_tokens.json").write_text("{}")


def damaged(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def unreadable(folder: Path) -> None:
    (folder / "generation_config.json").write_text("[")


def tokenizer(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return what changes tokenizer.json of a folder."""

    def edit(folder: Path) -> None:
        path = folder / "tokenizer.json"
        change(document := json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(document), encoding="utf-8")

    return edit


def swapped(document: dict[str, Any]) -> None:
    """Let two tokens have each other's ids that no check text has."""
    vocabulary = document["model"]["vocab"]
    one, other = [token for token in vocabulary if token.isascii()][-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


def in_template(old: str, new: str) -> Callable[[Path], None]:
    """Return what replaces text in the template of a folder."""

    def edit(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


BOS_FIRST = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "bos", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"bos": {"id": "bos", "ids": [1], "tokens": ["x"]}},
}
SHORT = {"direction": "Right", "max_length": 999, "strategy": "LongestFirst", "stride": 0}
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "template": (template, r"its chat template writes the turns user differently, 'USER SAYS What is it\?' instead"),
    "refuses": (refusing, r"its chat template refuses the turns user: .*never"),
    "no tokenizer": (no_tokenizer, r"there is no tokenizer, neither tokenizer\.json nor tokenizer_config\.json"),
    "damaged": (damaged, r"its tokenizer cannot be read: "),
    "tokens": (
        tokenizer(lambda document: document.update(normalizer={"type": "Lowercase"})),
        r"its tokenizer splits the turns user differently, from token \d+ on",
    ),
    "normalizer": (
        tokenizer(lambda document: document.update(normalizer={"type": "NFKC"})),
        r"tokenizer\.json says normalizer\.type='NFKC' instead of None$",
    ),
    "a bos before every text": (
        tokenizer(lambda document: document.update(post_processor=BOS_FIRST)),
        r"tokenizer\.json says post_processor\.",
    ),
    "truncation": (
        tokenizer(lambda document: document.update(truncation=SHORT)),
        r"tokenizer\.json says truncation\.direction='Right' instead of None, ",
    ),
    "vocabulary": (
        tokenizer(swapped),
        r"tokenizer\.json says model\.vocab\.\S+=\d+ instead of \d+, model\.vocab\.\S+=\d+ instead of \d+$",
    ),
    "a lost token": (
        tokenizer(lambda document: document["added_tokens"].pop()),
        r"tokenizer\.json says added_tokens\.\d+\.id=None instead of \d+, ",
    ),
    "length": (
        setting("tokenizer_config.json", model_max_length=128),
        r"tokenizer_config\.json says model_max_length=128 instead of \d+$",
    ),
    "another file": (
        more_tokens,
        r"it has added_tokens\.json, and the tokenizer of the training does not",
    ),
    "fifth turn": (
        in_template("", "{%- if messages|length > 4 %}X{% endif -%}"),
        r"its chat template is another text than that of the training, '\{%- if messages\|length > 4 .*' instead of '",
    ),
    "a stop token more": (
        setting("generation_config.json", eos_token_id=[*range(360, 370)]),
        r"generation_config\.json ends answers at the tokens \[360, .*369\] too, and the training does not",
    ),
    "eos": (setting("config.json", eos_token_id=12345), r"config\.json says eos_token_id=12345 instead of \d+$"),
    "stops": (
        setting("generation_config.json", eos_token_id=12345),
        r"generation_config\.json ends answers at the tokens \[12345\], and the training at \[\d+, \d+\] too",
    ),
    "temperature": (
        setting("generation_config.json", do_sample=True, temperature=9.0),
        r"generation_config\.json says .*temperature=9\.0 instead of ",
    ),
    "context": (
        setting("config.json", max_position_embeddings=200),
        r"config\.json says max_position_embeddings=200 instead of 512",
    ),
    "rope": (
        setting("config.json", rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
        r"config\.json says rope_parameters\.rope_theta=10000\.0 instead of 500000\.0",
    ),
    "many": (
        setting("config.json", eos_token_id=1, bos_token_id=1, hidden_act="gelu", rms_norm_eps=1.0),
        r"config\.json says (\S+=\S+ instead of \S+, ){2}\S+=\S+ instead of \S+ and 1 more",
    ),
    "no settings": (
        unreadable,
        r"generation_config\.json cannot be read: ",
    ),
    "no JSON": (lambda folder: (folder / "config.json").unlink(), r"config\.json cannot be read: "),
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.fixture(scope="module")
def rendered(base: Path) -> list[RenderedConversation]:
    return list(render_conversations(Speaks(AutoTokenizer.from_pretrained(base)), TALKS))


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """Return an export of the base."""
    return Path(shutil.copytree(base, tmp_path / "merged"))


def told(folder: Path, base: Path, rendered: list[RenderedConversation]) -> str:
    return folder_problem(folder, base, base, tokens(base), rendered, trust=False)


def tokens(base: Path, *words: str) -> TrainedTokens:
    """Return the tokenizer of a training on a base, whose stop tokens are those of generation_config.json."""
    plan = testing.plan(["model=local", f"model.path={str(base)!r}", *words], run_dir=base / "run")
    return TrainedTokens.of(plan, base / "no checkpoint", base, folder_stop_ids(base, trust=False))


def test_a_folder_as_the_export_writes_it_passes(
    folder: Path, base: Path, rendered: list[RenderedConversation]
) -> None:
    setting("config.json", dtype="float16", transformers_version="5.0.0")(folder)
    assert told(folder, base, rendered) == ""
    assert any(each.tools for each in rendered)


@pytest.mark.parametrize("name", WRONG)
def test_what_differs_is_named(name: str, folder: Path, base: Path, rendered: list[RenderedConversation]) -> None:
    change, expected = WRONG[name]
    change(folder)
    assert re.match(expected, told(folder, base, rendered)), told(folder, base, rendered)


def test_a_folder_without_settings_of_generation_stops_by_its_config(
    folder: Path, rendered: list[RenderedConversation], tmp_path: Path
) -> None:
    (folder / "generation_config.json").unlink()
    eos = json.loads((folder / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert folder_stop_ids(folder, trust=False) == {eos}
    setting("config.json", eos_token_id=None)(folder)
    assert folder_stop_ids(folder, trust=False) == {2}  # what transformers takes for a Llama, whatever token that is
    base = Path(shutil.copytree(folder, tmp_path / "without"))
    trained = dataclasses.replace(tokens(base), stop_ids=frozenset({eos}))
    assert folder_problem(folder, base, base, trained, rendered, trust=False).startswith("generation_config.json ends")
    tokenizer_and_config._add_eos_to_generation_config(folder)  # noqa: SLF001 - a part of `copy`, which needs a plan
    assert folder_stop_ids(folder, trust=False) == {eos} != {2}
    assert folder_problem(folder, base, base, trained, rendered, trust=False) == ""


def test_a_stop_token_within_an_answer_ends_it_early() -> None:
    rows = [CheckRow("", (1, 2), (7, 8), stopped=True), CheckRow("", (9,), (), stopped=False, last=1)]
    assert stops_early(rows, frozenset({9, 10})) == ""
    assert stops_early(rows, frozenset({8, 10})) == (
        "it ends answers at the tokens [8], which the trained model writes within answers"
    )


class File:
    """The metadata of a GGUF file."""

    def __init__(self, **values: str) -> None:
        self.values = {"general.architecture": "llama", "llama.context_length": "512"}
        self.values |= {f"llama.{name.replace('__', '.')}": value for name, value in values.items()}

    def metadata(self, key: str) -> str | None:
        return self.values.get(key)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rope__freq_base": "500000.000000"}, ""),
        ({"rope__freq_base": "10000.000000"}, "its llama.rope.freq_base is 10000.000000, and 500000 in the training"),
        ({}, "its llama.rope.freq_base is 10000.0, and 500000 in the training"),
        (
            {"rope__freq_base": "500000", "context_length": "200"},
            "its llama.context_length is 200, and 512 in the training",
        ),
        (
            {"rope__freq_base": "500000", "attention__layer_norm_rms_epsilon": "0.001"},
            "its llama.attention.layer_norm_rms_epsilon is 0.001, and 1e-06 in the training",
        ),
        (
            {"rope__freq_base": "500000", "rope__scaling__type": "yarn"},
            "its llama.rope.scaling.type is yarn, and the training scales no positions",
        ),
    ],
)
def test_the_positions_of_a_file_are_compared(values: dict[str, str], expected: str, base: Path) -> None:
    assert metadata_problem(File(**values), base, 512, trust=False) == expected  # type: ignore[arg-type]


def test_a_scaling_and_a_window_are_compared_too(tmp_path: Path) -> None:
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    base = tiny_model(tmp_path / "mistral", "mistral", sliding_window=128, rope_parameters=rope)
    right = {"rope__scaling__factor": "4.000000", "attention__sliding_window": "128"}

    def told(longest: int, **changes: str | None) -> str:
        values = {name: value for name, value in {**right, **changes}.items() if value is not None}
        return metadata_problem(File(**values), base, longest, trust=False)  # type: ignore[arg-type]

    assert told(512) == ""
    for name, value in (("rope__scaling__factor", "1.0"), ("attention__sliding_window", "64")):
        assert told(512, **{name: value}).startswith(f"its llama.{name.replace('__', '.')} is {value}, and ")
    assert "its llama.rope.scaling.factor is missing" in told(512, rope__scaling__factor=None)
    # llama.cpp has no window for some families: only rows that are longer than it make a difference.
    assert "its llama.attention.sliding_window is missing, and 128 in" in told(512, attention__sliding_window=None)
    assert told(128, attention__sliding_window=None) == ""
    lost = "llama.cpp reads this file without the sliding window of 128 tokens: answers to longer texts differ"
    assert lost_window(File(), base, trust=False) == lost  # type: ignore[arg-type]
    assert lost_window(File(**right), base, trust=False) == ""  # type: ignore[arg-type]


def test_a_template_by_name_brings_its_stop_token_and_switches_are_written_into_it(folder: Path, base: Path) -> None:
    trained = tokens(base, "model.chat_template=chatml", "model.chat_template_kwargs={brief: true}")
    assert trained.template_problem(folder).startswith("its chat template is another text than that of the training")
    assert "tokenizer_config.json says eos_token=" in trained.problem(folder)
    setting("tokenizer_config.json", eos_token="<|im_end|>")(folder)  # noqa: S106 - a token of text
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATES["chatml"].text, encoding="utf-8")
    assert trained.problem(folder) == trained.template_problem(folder) == ""
