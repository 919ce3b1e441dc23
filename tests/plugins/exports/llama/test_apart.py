"""llama.cpp in a process of its own: the same answers, and an assertion that fails there is a message."""

from __future__ import annotations

import numpy as np
import pytest

from framework import FrameworkError
from framework_plugins.exports.llama.apart import LlamaApart
from framework_plugins.exports.llama.model import Llama
from tests.plugins.exports.conftest import Pair


@pytest.fixture(autouse=True, scope="module")
def copies() -> None:
    """Let true processes do it."""


def test_it_answers_as_llama_in_this_process(tiny: Pair) -> None:
    with Llama(tiny.file, n_ctx=64) as here, LlamaApart(tiny.file, n_ctx=64) as apart:
        ids = here.tokenize("Add the two numbers.")
        assert (apart.tokenize("Add the two numbers."), apart.stop_ids) == (ids, here.stop_ids)
        assert (apart.adds_bos, apart.chat_template) == (here.adds_bos, here.chat_template)
        assert apart.metadata("general.architecture") == "llama"
        assert np.array_equal(apart.logits(ids), here.logits(ids))
        assert apart.complete(ids, max_new_tokens=8) == here.complete(ids, max_new_tokens=8)
        assert apart.read("Add") == here.read("Add")


def test_an_assertion_of_llama_cpp_is_a_message(tiny: Pair) -> None:
    with LlamaApart(tiny.file) as llama:
        told = rf"llama\.cpp cannot work with {tiny.file.name}: .* signal 6 \(SIGABRT\): .*GGML_ASSERT\(n_tokens"
        with pytest.raises(FrameworkError, match=told):
            llama._ask("_decode", [1] * 1000, every=False)  # noqa: SLF001 - more than the context takes in one pass
        assert llama.tokenize("Add")
