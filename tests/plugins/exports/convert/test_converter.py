"""The converter is found without being run, in AutoRound and in a checkout of llama.cpp."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from framework.util.errors import FrameworkError
from framework_plugins.exports.convert import converter

PROMISED = {
    "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration", "Phi3ForCausalLM",
}  # fmt: skip
OLD = """
@ModelBase.register("LlamaForCausalLM", "MistralForCausalLM")
class LlamaModel(TextModel): ...

@ModelBase.register(
    "Qwen2ForCausalLM",
    "Qwen2Model",
)
class Qwen2Model(TextModel): ...
"""


def test_the_installed_converter_knows_what_is_promised_and_is_not_imported_for_it() -> None:
    assert converter.architectures(None) >= PROMISED
    assert "conversion" not in sys.modules


def test_all_libraries_are_installed() -> None:
    assert converter.missing_libraries(checkout=False) == ""


def test_missing_libraries_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "missing", lambda names: [name.partition(">")[0] for name in names])
    said = converter.missing_libraries(checkout=False)
    assert said.startswith(
        "needs auto-round and gguf and llama-cpp-py-sync and protobuf and sentencepiece: pip install"
    )
    assert said.endswith("[gguf]'")
    assert "auto-round" not in converter.missing_libraries(checkout=True)


def test_a_converter_that_is_elsewhere_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FrameworkError, match=r"not in the installed auto-round: pip install .*gguf"):
        converter.package_root()


def test_a_checkout_is_read_of_today_and_of_before(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"no checkout of llama.cpp: it has no convert_hf_to_gguf.py"):
        converter.architectures(tmp_path)
    (tmp_path / converter.SCRIPT).write_text(OLD, encoding="utf-8")
    assert converter.architectures(tmp_path) == {
        "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen2Model",
    }  # fmt: skip
    (tmp_path / "conversion").mkdir()
    table = 'TEXT_MODEL_MAP: dict[str, str] = {"NewForCausalLM": "new"}\n'
    (tmp_path / "conversion" / "__init__.py").write_text(table, encoding="utf-8")
    assert converter.architectures(tmp_path) == {"NewForCausalLM"}


def test_a_converter_of_another_form_is_not_misread(tmp_path: Path) -> None:
    (tmp_path / "conversion").mkdir()
    (tmp_path / "conversion" / "__init__.py").write_text("MODELS = {}\n", encoding="utf-8")
    with pytest.raises(FrameworkError, match="lists no TEXT_MODEL_MAP"):
        converter.architectures(tmp_path)
