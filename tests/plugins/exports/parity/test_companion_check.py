"""parity/handed_out.py: what a program reads beside the weights is that of the training."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from framework.api.records import Message, Prompt, ToolCall
from framework_plugins.exports.merge import tokenizer_and_config
from framework_plugins.exports.parity.check_rows import CheckRow
from framework_plugins.exports.parity.companion_check import folder_stops, metadata_problem, problem, stops_early
from framework_plugins.exports.parity.conversations import Rendered, conversations
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
    for name in tokenizer_and_config.TOKENIZERS:
        (folder / name).unlink(missing_ok=True)


def damaged(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def unreadable(folder: Path) -> None:
    (folder / "generation_config.json").write_text("[")


def other_tokens(folder: Path) -> None:
    """Let the tokenizer take the letters of a text for lower-case ones: the text is the same, its tokens are not."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(document), encoding="utf-8")


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "template": (template, r"its chat template writes the turns user differently, 'USER SAYS What is it\?' instead"),
    "refuses": (refusing, r"its chat template refuses the turns user: .*never"),
    "no tokenizer": (no_tokenizer, r"there is no tokenizer, neither tokenizer\.json nor tokenizer_config\.json"),
    "damaged": (damaged, r"its tokenizer cannot be read: "),
    "tokens": (other_tokens, r"its tokenizer splits the turns user differently, from token \d+ on"),
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
def rendered(base: Path) -> list[Rendered]:
    return list(conversations(Speaks(AutoTokenizer.from_pretrained(base)), TALKS))


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """Return an export of the base."""
    return Path(shutil.copytree(base, tmp_path / "merged"))


def told(folder: Path, base: Path, rendered: list[Rendered]) -> str:
    stops = folder_stops(base, trust=False)
    assert len(stops) == 2
    return problem(folder, base, base, rendered, stops, trust=False)


def test_a_folder_as_the_export_writes_it_passes(folder: Path, base: Path, rendered: list[Rendered]) -> None:
    setting("config.json", dtype="float16", transformers_version="5.0.0")(folder)
    assert told(folder, base, rendered) == ""
    assert any(each.tools for each in rendered)


@pytest.mark.parametrize("name", WRONG)
def test_what_differs_is_named(name: str, folder: Path, base: Path, rendered: list[Rendered]) -> None:
    change, expected = WRONG[name]
    change(folder)
    assert re.match(expected, told(folder, base, rendered)), told(folder, base, rendered)


def test_a_folder_without_settings_of_generation_stops_by_its_config(
    folder: Path, rendered: list[Rendered], tmp_path: Path
) -> None:
    (folder / "generation_config.json").unlink()
    eos = json.loads((folder / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert folder_stops(folder, trust=False) == {eos}
    setting("config.json", eos_token_id=None)(folder)
    assert folder_stops(folder, trust=False) == {2}  # what transformers takes for a Llama, whatever token that is
    base = Path(shutil.copytree(folder, tmp_path / "without"))
    assert problem(folder, base, base, rendered, frozenset({eos}), trust=False).startswith(
        "generation_config.json ends"
    )
    tokenizer_and_config._stop_as_the_run_did(folder)  # noqa: SLF001 - a part of `copy`, which needs a plan
    assert folder_stops(folder, trust=False) == {eos} != {2}
    assert problem(folder, base, base, rendered, frozenset({eos}), trust=False) == ""


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
    ],
)
def test_the_positions_of_a_file_are_compared(values: dict[str, str], expected: str, base: Path) -> None:
    assert metadata_problem(File(**values), base, trust=False) == expected  # type: ignore[arg-type]


def test_a_scaling_and_a_window_are_compared_too(tmp_path: Path) -> None:
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    base = tiny_model(tmp_path / "mistral", "mistral", sliding_window=128, rope_parameters=rope)
    right = {"rope__scaling__factor": "4.000000", "attention__sliding_window": "128"}
    assert metadata_problem(File(**right), base, trust=False) == ""  # type: ignore[arg-type]
    for name, value in (("rope__scaling__factor", "1.0"), ("attention__sliding_window", "64")):
        told = metadata_problem(File(**{**right, name: value}), base, trust=False)  # type: ignore[arg-type]
        assert told.startswith(f"its llama.{name.replace('__', '.')} is {value}, and ")
    del right["rope__scaling__factor"]
    assert "its llama.rope.scaling.factor is missing" in metadata_problem(File(**right), base, trust=False)  # type: ignore[arg-type]
