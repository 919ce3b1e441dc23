"""Files are quantized by llama.cpp into the types that their names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf.file import Tensors
from framework_plugins.exports.gguf.quantizations import QUANTIZATIONS, gguf_bytes
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantize import quantize


def test_q4_k_m_has_real_k_quants_where_rows_are_wide_enough(q4: Path) -> None:
    tensors = Tensors.read(q4)
    assert tensors.types.keys() == {"Q4_K", "Q6_K"}
    assert tensors.types["Q4_K"] > tensors.types["Q6_K"]
    assert tensors.note("q4_k_m") == ""


def test_every_quantization_can_be_made_and_opened_and_the_larger_the_closer(tiny: Any, tmp_path: Path) -> None:
    ids = list(range(3, 60))
    with Llama(tiny.file, threads=1) as llama:
        expected = llama.logits(ids)
    away = {}
    for name in QUANTIZATIONS:
        file = tmp_path / f"{name}.gguf"
        quantize(tiny.file, file, name, threads=1)
        with Llama(file, threads=1) as llama:
            away[name] = float(np.abs(llama.logits(ids) - expected).mean() / expected.std())
        file.unlink()
    assert away["f32"] < 1e-3
    order = ["f32", "f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"]
    assert sorted(order, key=away.__getitem__) == order
    assert away["q4_k_m"] < 0.25


def test_metadata_can_be_set_on_the_way(tiny: Any, tmp_path: Path) -> None:
    settings = {"tokenizer.ggml.eot_token_id": 7, "tokenizer.ggml.add_space_prefix": False}
    quantize(tiny.file, tmp_path / "new.gguf", "q8_0", threads=1, settings=settings)
    with Llama(tmp_path / "new.gguf", vocabulary_only=True) as llama:
        assert llama.metadata("tokenizer.ggml.eot_token_id") == "7"
        assert llama.metadata("tokenizer.ggml.add_space_prefix") == "false"
        assert 7 in llama.stop_ids
    with Llama(tiny.file, vocabulary_only=True) as llama:
        assert 7 not in llama.stop_ids


def test_what_is_no_gguf_file_is_refused_with_llama_cpps_reason(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"nothing")
    with pytest.raises(FrameworkError, match=r"llama.cpp cannot quantize a.gguf to q4_k_m: .+"):
        quantize(tmp_path / "a.gguf", tmp_path / "b.gguf", "q4_k_m", threads=1)


def test_the_foreseen_size_is_not_below_the_real_one(tiny: Any, tmp_path: Path) -> None:
    with Llama(tiny.file, vocabulary_only=True):
        pass
    parameters = sum(int(np.prod(tensor.shape)) for tensor in _tensors(tiny.file))
    for name in ("f32", "f16", "bf16", "q8_0"):
        quantize(tiny.file, tmp_path / "new.gguf", name, threads=1)
        size = sum(tensor.n_bytes for tensor in _tensors(tmp_path / "new.gguf"))
        assert 0.9 * size < gguf_bytes(parameters, name) <= 1.01 * size


def _tensors(file: Path) -> Any:
    import gguf

    return gguf.GGUFReader(file).tensors
