"""Every promised family converts: tokens, logits and greedy text are those of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from framework.util.errors import FrameworkError
from framework_plugins.exports import chat_template
from framework_plugins.exports.gguf.metadata import SAMPLE_TEXTS, Vocabulary
from framework_plugins.exports.llama import process
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantizations import quantize
from framework_plugins.exports.parity.companion_check import metadata_problem
from tests.support.ggufs import CONVERTERS, MODELS, converted, tiny_model


@pytest.fixture(scope="module", params=CONVERTERS)
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Path], dict[str, Vocabulary], dict[str, Path]]:
    """Return the folders, what their files have to say, and the GGUF files, all converted in one process."""
    tree = request.param and request.getfixturevalue(request.param)
    target = tmp_path_factory.mktemp("families")
    folders = {name: tiny_model(target / name, name) for name in MODELS}
    vocabularies = {name: Vocabulary.read(folder) for name, folder in folders.items()}
    for name, folder in folders.items():
        chat_template.write_template(folder, vocabularies[name].template)
    return folders, vocabularies, converted(list(folders.values()), target, tree=tree)


@pytest.mark.parametrize("name", MODELS)
def test_the_file_is_the_model(name: str, models: Any, tmp_path: Path) -> None:
    folders, vocabularies, files = models
    vocabulary, file = vocabularies[name], tmp_path / "new.gguf"
    quantize(files[name], file, "f32", threads=1, settings=vocabulary.metadata_overrides(files[name]))
    vocabulary.check(file)
    theirs = AutoModelForCausalLM.from_pretrained(folders[name], dtype=torch.float32).eval()
    agreed = []
    with Llama(file, threads=1) as llama:
        assert metadata_problem(llama, folders[name], 512, trust=False) == ""
        for text in (SAMPLE_TEXTS[0], SAMPLE_TEXTS[2]):
            ids = vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
            with torch.no_grad():
                expected = theirs(torch.tensor([ids])).logits[0].numpy()
            found = llama.logits(ids)
            assert np.abs(found - expected).max() < 0.03 * expected.std()
            # Other passes, and the cache of keys and values is in 16 bits.
            assert np.abs(llama.logits(ids, last=7) - found[-7:]).max() < 0.02 * expected.std()
            agreed += list(found.argmax(1) == expected.argmax(1))
        with torch.no_grad():
            out = theirs.generate(torch.tensor([ids[:9]]), max_new_tokens=12, do_sample=False)[0, 9:].tolist()
        said = llama.complete(ids[:9], max_new_tokens=12)
    assert np.mean(agreed) > 0.97
    assert list(said.ids) == out[: len(said.ids)]
    assert said.stopped == (out[-1] in vocabulary.stop_ids)


def test_an_unknown_architecture_is_reported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["AcmeForCausalLM"]}', encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(
        FrameworkError, match=r"^llama\.cpp's converter does not know the architecture AcmeForCausalLM$"
    ):
        process.run_in_process(
            "the conversion", "framework_plugins.exports.gguf.convert.model:convert", tmp_path / "log",
            folder=str(tmp_path), target=str(tmp_path / "a.gguf"), dtype="f16", name="a",
        )  # fmt: skip
