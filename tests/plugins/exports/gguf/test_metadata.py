"""Template, stop tokens and name of the run are those of its files, and what tensors became is counted."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from framework.api.records import Message
from framework.util.errors import FrameworkError
from framework_plugins.exports import chat_template
from framework_plugins.exports.gguf import metadata
from framework_plugins.exports.gguf.metadata import LLAMA_CPP_VARIABLES, TensorTypes, Vocabulary
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantizations import quantize
from framework_plugins.exports.llama.template import Template


@pytest.fixture
def vocabulary(tiny: Any) -> Vocabulary:
    """Return what the folder says, with its own template: the file is as the converter wrote it."""
    template = (tiny.folder / "chat_template.jinja").read_text(encoding="utf-8")
    return dataclasses.replace(Vocabulary.read(tiny.folder), template=template)


def test_it_reads_the_template_and_every_stop_token(tiny: Any, vocabulary: Vocabulary) -> None:
    names = {str(vocabulary.tokenizer.id_to_token(number)) for number in vocabulary.stop_ids}
    assert names == {"<|eot_id|>", "<|end_of_text|>"}
    assert vocabulary.eos_id == vocabulary.tokenizer.token_to_id("<|eot_id|>")
    assert Vocabulary.read(tiny.folder).template == chat_template.template_for_gguf(vocabulary.template, ())


def test_a_template_inside_the_tokenizers_config_counts_too(tiny: Any, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(tiny.folder, folder)
    (folder / "chat_template.jinja").unlink()
    config = (
        (folder / "tokenizer_config.json").read_text(encoding="utf-8").replace("{", '{"chat_template": "{{ x }}",', 1)
    )
    (folder / "tokenizer_config.json").write_text(config, encoding="utf-8")
    assert Vocabulary.read(folder).template.endswith("-#}{{ x }}")


def test_stop_tokens_that_llama_cpp_does_not_know_are_written(
    tiny: Any, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    assert vocabulary.eos_id is not None
    mine = dataclasses.replace(vocabulary, eos_id=7, stop_ids=frozenset({7, 11, 12, vocabulary.eos_id}))
    with pytest.raises(FrameworkError, match=r"whole.gguf does not stop at the tokens \[7, 11, 12\], but the run does"):
        mine.check(Path(shutil.copy(tiny.file, tmp_path / "whole.gguf")))
    settings = mine.metadata_overrides(tiny.file)
    quantize(tiny.file, tmp_path / "new.gguf", "q8_0", threads=1, settings=settings)
    mine.check(tmp_path / "new.gguf")
    with Llama(tmp_path / "new.gguf", vocabulary_only=True) as llama:
        assert llama.stop_ids >= mine.stop_ids
        assert llama.metadata("tokenizer.ggml.eos_token_id") == "7"


def test_more_stop_tokens_than_gguf_can_name_are_refused(tiny: Any, vocabulary: Vocabulary) -> None:
    mine = dataclasses.replace(vocabulary, stop_ids=frozenset({7, 11, 12, 13}))
    with pytest.raises(FrameworkError, match=r"GGUF cannot hold \[12, 13\]"):
        mine.metadata_overrides(tiny.file)


@pytest.mark.parametrize(
    ("template", "taken"),
    [
        ("{{ date_string if date_string is defined else '26 Jul 2024' }}", ["date_string"]),
        ("{% if enable_thinking and not datetime %}<think>{% endif %}{{ datetime }}", ["enable_thinking", "datetime"]),
        ("{{ enable_thinking is defined and not enable_thinking }}", []),  # true is as good as nothing here
    ],
)
def test_what_llama_cpp_gives_to_a_template_that_the_training_did_not_is_taken_away(
    tiny: Any, tmp_path: Path, template: str, taken: list[str]
) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "folder"))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    made = Vocabulary.read(folder).template
    assert [name for name in LLAMA_CPP_VARIABLES if f"set {name} = not_given" in made] == taken
    talk = [Message("user", "What is it?")]
    assert Template(made, LLAMA_CPP_VARIABLES).render(talk) == Template(template, {}).render(talk)


def test_another_template_is_refused(tiny: Any, vocabulary: Vocabulary) -> None:
    vocabulary.check(tiny.file)
    with pytest.raises(FrameworkError, match="does not hold the run's chat template"):
        dataclasses.replace(vocabulary, template="{{ messages }}").check(tiny.file)


def test_a_file_that_cuts_text_otherwise_is_refused(tiny: Any, vocabulary: Vocabulary) -> None:
    from tests.support.families import make_tokenizer

    tokenizer = make_tokenizer("llama3").backend_tokenizer
    from tokenizers import pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with pytest.raises(
        FrameworkError, match=r"llama.cpp splits .* differently.*: from token \d+ on into \[.*\], and .* \["
    ):
        dataclasses.replace(vocabulary, tokenizer=tokenizer).check(tiny.file)


def test_a_folder_without_tokenizer_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"has no tokenizer\.json"):
        Vocabulary.read(tmp_path)


def tokenizer(*, swallows: bool, tokens: tuple[str, ...] = ("<|end|>", "<|endoftext|>")) -> dict[str, Any]:
    added = [{"content": text, "special": True, "rstrip": swallows and text == "<|end|>"} for text in tokens]
    return {"added_tokens": added}


@pytest.mark.parametrize(
    ("name", "swallowing", "plain"),
    [
        ("orders", "orders (Phi-3)", "orders"),
        ("Phi-3 orders", "Phi-3 orders", "Phi 3 orders"),
        ("my-PHI3.5", "my-PHI3.5", "my-PHI 3.5"),
        ("phi-4", "phi-4 (Phi-3)", "phi-4"),
    ],
)
def test_it_holds_phi_3_where_tokens_swallow_spaces_and_nowhere_else(name: str, swallowing: str, plain: str) -> None:
    assert metadata.general_name(name, tokenizer(swallows=True)) == swallowing
    assert metadata.general_name(name, tokenizer(swallows=False)) == plain
    assert metadata.general_name(name, tokenizer(swallows=True, tokens=("<|end|>",))) == plain


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a file with a wide and a narrow matrix and a vector."""
    file = tmp_path / "mixed.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    for name, shape in (("wide.weight", (4, 256)), ("narrow.weight", (4, 64)), ("other.weight", (2, 96))):
        data: Any = gguf.quants.quantize(np.zeros(shape, np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("norm.weight", np.zeros(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_matrices_are_counted_and_vectors_left_out(mixed: Path) -> None:
    assert TensorTypes.read(mixed) == TensorTypes({"Q8_0": 3}, {"Q8_0": 2})


def test_rows_that_are_too_narrow_are_reported_for_k_quants_alone() -> None:
    tensors = TensorTypes({"Q5_0": 150, "Q4_K": 31, "Q8_0": 30}, {"Q5_0": 150, "Q8_0": 30})
    said = "180 of 211 matrices are Q5_0/Q8_0, not Q4_K_M: the width of their rows is not a multiple of 256"
    assert tensors.note("q4_k_m") == said
    assert tensors.note("q8_0") == ""
    assert TensorTypes({"Q4_K": 31}, {}).note("q4_k_m") == ""
