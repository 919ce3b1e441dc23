"""parity/conversations.py: a file whose chat template llama.cpp's own server renders otherwise does not pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from framework import testing
from framework.api.protocols import ExportContext
from framework.api.records import Message, Prompt
from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.parity import conversations
from framework_plugins.exports.parity.gate import Gate, ParityError
from tests.support.families import make_tokenizer
from tests.support.speaks import Speaks

PROMPTS = (Prompt((Message("user", "Where is it?"), Message("assistant", "Here."), Message("user", "And now?"))),)


@pytest.fixture
def gate(tiny: Any, tmp_path: Path) -> Gate:
    """Return a gate of a model that writes as its file does."""
    plan = testing.plan([], run_dir=tmp_path)
    context = ExportContext(tmp_path, plan.checkpoint, plan.config, plan, prompts=PROMPTS)
    return Gate(ParityConfig(), Speaks(AutoTokenizer.from_pretrained(tiny.folder)), context)


def recorded(gate: Gate) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((gate.context.run_dir / "parity.json").read_text(encoding="utf-8"))
    return found


def test_a_file_that_writes_as_the_training_passes_and_is_recorded(tiny: Any, gate: Gate) -> None:
    assert (
        gate.check_conversations(tiny.file, "run-F32.gguf") == "llama.cpp writes 5 conversations as the training does"
    )
    assert recorded(gate) == [
        {
            "name": "run-F32.gguf",
            "problem": "",
            "tools": "",
            "conversations": 5,
            "not_checked": "",
            "against": "chat_template",
        }
    ]
    assert not (gate.context.run_dir / "llama_server.log").exists()


def test_a_file_that_writes_otherwise_is_refused_and_recorded(tiny: Any, gate: Gate) -> None:
    gate.model.tokenizer.chat_template = "{{ '!' }}" + gate.model.tokenizer.chat_template  # type: ignore[attr-defined]
    with pytest.raises(
        ParityError, match=r"^run-F32.gguf is not what was trained: llama.cpp's .* writes the turns user"
    ):
        gate.check_conversations(tiny.file, "run-F32.gguf")
    (record,) = recorded(gate)
    assert "differently, '<|begin_of_text|>" in record["problem"]
    assert "instead of '!<|begin_of_text|>" in record["problem"]


def test_without_the_library_it_says_that_nothing_was_checked(
    tiny: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "missing", lambda names: names)
    told = gate.check_conversations(tiny.file, "run-F32.gguf")
    assert told == "not checked in llama.cpp: xllamacpp, part of the extra gguf, is not installed"
    (record,) = recorded(gate)
    assert (record["conversations"], record["not_checked"]) == (
        0,
        "xllamacpp, part of the extra gguf, is not installed",
    )


def test_a_server_that_fails_leaves_the_file_unchecked_and_its_log(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "half.gguf").write_bytes(b"GGUF")
    told = gate.check_conversations(tmp_path / "half.gguf", "half.gguf")
    assert told.startswith("not checked in llama.cpp: llama.cpp's server of xllamacpp failed: ")
    assert "failed to load model" in (tmp_path / "llama_server.log").read_text(encoding="utf-8")
    (record,) = recorded(gate)
    assert (record["problem"], record["conversations"]) == ("", 0)


def test_what_the_chat_template_does_not_take_is_left_out(gate: Gate) -> None:
    turns = Prompt((Message("user", "a"),))
    assert [each.roles for each in conversations.render_conversations(gate.model, [turns])] == [
        "user", "system, user", "user, assistant, user", "system, user, assistant, user", "user"
    ]  # fmt: skip
    for kind, told in (("gemma", 2), ("mistral_v3", 4)):  # the first refuses system prompts
        assert len(list(conversations.render_conversations(Speaks(make_tokenizer(kind)), ()))) == told
    dropped = make_tokenizer("chatml")
    dropped.chat_template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    assert len(list(conversations.render_conversations(Speaks(dropped), ()))) == 2
