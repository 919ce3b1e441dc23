"""Template and stop tokens of the run are those of its files, or the export fails."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from framework.api.records import Message
from framework.util.errors import FrameworkError
from framework_plugins.exports import chat_template
from framework_plugins.exports.gguf.vocabulary import GIVEN, Vocabulary
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantize import quantize
from framework_plugins.exports.llama.template import Template


@pytest.fixture
def vocabulary(tiny: Any) -> Vocabulary:
    """Return what the folder says, with its own template: the file is as the converter wrote it."""
    template = (tiny.folder / "chat_template.jinja").read_text(encoding="utf-8")
    return dataclasses.replace(Vocabulary.read(tiny.folder), template=template)


def test_it_reads_the_template_and_every_stop_token(tiny: Any, vocabulary: Vocabulary) -> None:
    names = {str(vocabulary.tokenizer.id_to_token(number)) for number in vocabulary.stops}
    assert names == {"<|eot_id|>", "<|end_of_text|>"}
    assert vocabulary.eos == vocabulary.tokenizer.token_to_id("<|eot_id|>")
    assert Vocabulary.read(tiny.folder).template == chat_template.for_file(vocabulary.template, ())


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
    assert vocabulary.eos is not None
    mine = dataclasses.replace(vocabulary, eos=7, stops=frozenset({7, 11, 12, vocabulary.eos}))
    with pytest.raises(FrameworkError, match=r"whole.gguf does not stop at the tokens \[7, 11, 12\], but the run does"):
        mine.check(Path(shutil.copy(tiny.file, tmp_path / "whole.gguf")))
    settings = mine.amendments(tiny.file)
    quantize(tiny.file, tmp_path / "new.gguf", "q8_0", threads=1, settings=settings)
    mine.check(tmp_path / "new.gguf")
    with Llama(tmp_path / "new.gguf", vocabulary_only=True) as llama:
        assert llama.stop_ids >= mine.stops
        assert llama.metadata("tokenizer.ggml.eos_token_id") == "7"


def test_more_stop_tokens_than_gguf_can_name_are_refused(tiny: Any, vocabulary: Vocabulary) -> None:
    mine = dataclasses.replace(vocabulary, stops=frozenset({7, 11, 12, 13}))
    with pytest.raises(FrameworkError, match=r"GGUF cannot hold \[12, 13\]"):
        mine.amendments(tiny.file)


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
    assert [name for name in GIVEN if f"set {name} = not_given" in made] == taken
    talk = [Message("user", "What is it?")]
    assert Template(made, GIVEN).render(talk) == Template(template, {}).render(talk)


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
    with pytest.raises(FrameworkError, match=r"llama.cpp splits .* into \[.*\], and the tokenizer into \["):
        dataclasses.replace(vocabulary, tokenizer=tokenizer).check(tiny.file)


def test_a_folder_without_tokenizer_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"has no tokenizer\.json"):
        Vocabulary.read(tmp_path)
