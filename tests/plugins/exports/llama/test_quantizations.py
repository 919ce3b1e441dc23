"""Names of quantizations, sizes of files, and files quantized by llama.cpp into the types that their names say."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf.metadata import TensorTypes
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantizations import (
    QUANTIZATIONS,
    gguf_bytes,
    lower_names,
    quantize,
    unknown_names,
)
from framework_plugins.exports.parity.quantized_weights import tensors_problem


def test_the_numbers_are_llama_cpps_own() -> None:
    bindings = importlib.import_module("llama_cpp_py_sync._cffi_bindings")
    theirs = bindings.get_ffi().typeof("enum llama_ftype").relements
    for name, kind in QUANTIZATIONS.items():
        form = "ALL" if name == "f32" else "MOSTLY"
        assert theirs[f"LLAMA_FTYPE_{form}_{name.upper()}"] == kind.number


def test_llama_3_1_8b_has_the_known_sizes() -> None:
    """In GiB, as llama.cpp's own program lists them."""
    known = {"q8_0": 7.95, "q6_k": 6.14, "q5_k_m": 5.33, "q4_k_m": 4.58, "q4_0": 4.34, "q3_k_m": 3.74, "q2_k": 2.96}
    for name, size in known.items():
        assert 0.999 * size <= gguf_bytes(8_030_261_248, name) / 2**30 < 1.06 * size


@given(st.sampled_from(sorted(QUANTIZATIONS)), st.integers(1, 10**12))
def test_a_model_that_k_quants_cannot_pack_is_never_smaller(name: str, parameters: int) -> None:
    wide, narrow = gguf_bytes(parameters, name), gguf_bytes(parameters, name, in_blocks=False)
    assert wide <= narrow <= gguf_bytes(parameters, "f32")
    assert (wide == narrow) or QUANTIZATIONS[name].in_blocks


@pytest.mark.parametrize(("name", "meant"), [("q4_km", "q4_k_m"), ("q80", "q8_0"), ("fp16", "f16")])
def test_an_unknown_one_names_the_nearest(name: str, meant: str) -> None:
    (problem,) = unknown_names(["q8_0", name])
    assert problem.startswith(f"unknown quantization '{name}'. Did you mean '{meant}'? Valid: bf16, f16, f32")


@pytest.mark.parametrize(
    ("name", "meant"), [("q4_k", "'q4_k_m' or 'q4_k_s'"), ("q4", "'q4_k_m' or 'q4_k_s'"), ("q8", "'q8_0'")]
)
def test_a_name_that_is_cut_off_names_what_begins_with_it(name: str, meant: str) -> None:
    assert f"unknown quantization '{name}'. Did you mean {meant}? Valid: " in unknown_names([name])[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("iq2_xxs", "needs an importance matrix"), ("mxfp4_moe", "is for models that were trained in it")],
)
def test_one_that_is_left_out_is_refused_with_the_reason(name: str, reason: str) -> None:
    (problem,) = unknown_names([name])
    assert problem.startswith(f"quantization '{name}' {reason}")
    assert "llama-quantize" in problem


def test_names_may_be_written_large() -> None:
    assert unknown_names(["Q4_K_M", "F16"]) == []
    assert lower_names(["Q4_K_M", "f16"]) == ["q4_k_m", "f16"]


def test_q4_k_m_has_real_k_quants_where_rows_are_wide_enough(q4: Path) -> None:
    tensors = TensorTypes.read(q4)
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
        assert tensors_problem(file, tiny.file) == "", name
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
