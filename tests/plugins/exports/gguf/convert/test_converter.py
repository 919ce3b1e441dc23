"""The converter is found without being run, in AutoRound and in a source tree of llama.cpp."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf.convert import converter

PROMISED = {
    "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration", "Phi3ForCausalLM",
}  # fmt: skip
PROJECT = Path(__file__).parents[5] / "pyproject.toml"


def test_the_installed_converter_knows_what_is_promised_and_is_not_imported_for_it() -> None:
    assert converter.architectures(None) >= PROMISED
    assert "conversion" not in sys.modules


def test_the_extra_installs_what_is_needed() -> None:
    extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(converter.NEEDED) <= set(extras["quickstart"])
    assert "framework-finetune[quickstart]" in extras["gguf"]


def test_missing_libraries_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "missing", lambda names: [re.split("[>=]", name)[0] for name in names])
    said = converter.missing_libraries(tree=False)
    assert said.startswith(
        "needs auto-round and gguf and llama-cpp-py-sync and protobuf and sentencepiece: pip install"
    )
    assert said.endswith("[gguf]'")
    assert "auto-round" not in converter.missing_libraries(tree=True)


def test_a_converter_that_is_elsewhere_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FrameworkError, match=r"not in the installed auto-round: pip install .*gguf"):
        converter.converter_folder(None)


def test_a_source_tree_is_read_where_it_has_a_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        FrameworkError, match=r"^~ is not a source tree of llama.cpp, or is an old one: it has no conversion/"
    ):
        converter.architectures("~")
    (tmp_path / "conversion").mkdir()
    table = 'TEXT_MODEL_MAP: dict[str, str] = {"NewForCausalLM": "new"}\n'
    (tmp_path / "conversion" / "__init__.py").write_text(table, encoding="utf-8")
    assert converter.architectures("~") == {"NewForCausalLM"}


def test_a_converter_of_another_form_is_not_misread(tmp_path: Path) -> None:
    (tmp_path / "conversion").mkdir()
    (tmp_path / "conversion" / "__init__.py").write_text("MODELS = {}\n", encoding="utf-8")
    with pytest.raises(FrameworkError, match="lists no TEXT_MODEL_MAP"):
        converter.architectures(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"architectures": ["PhimoeForCausalLM"]}, "PhiMoEForCausalLM"),
        (
            {"architectures": ["SmolVLMForConditionalGeneration"], "text_config": {"model_type": "llama"}},
            "LlamaForCausalLM",
        ),
        ({"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {}}, "Gemma3ForConditionalGeneration"),
        ({"architectures": ["AcmeForCausalLM"]}, None),
    ],
    ids=["capital letters", "text part", "wrapper", "unknown"],
)
def test_an_architecture_has_the_name_of_the_converter(config: dict[str, Any], name: str | None) -> None:
    assert converter.architecture(config, converter.architectures(None)) == name
