"""Names of quantizations, and how large files become."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework_plugins.exports.gguf.quantizations import QUANTIZATIONS, gguf_bytes, known_names, unknown_ones


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
    (problem,) = unknown_ones(["q8_0", name])
    assert problem.startswith(f"unknown quantization '{name}'. Did you mean '{meant}'? Valid: bf16, f16, f32")


@pytest.mark.parametrize(
    ("name", "meant"), [("q4_k", "'q4_k_m' or 'q4_k_s'"), ("q4", "'q4_k_m' or 'q4_k_s'"), ("q8", "'q8_0'")]
)
def test_a_name_that_is_cut_off_names_what_begins_with_it(name: str, meant: str) -> None:
    assert f"unknown quantization '{name}'. Did you mean {meant}? Valid: " in unknown_ones([name])[0]


def test_names_may_be_written_large() -> None:
    assert unknown_ones(["Q4_K_M", "F16"]) == []
    assert known_names(["Q4_K_M", "f16"]) == ["q4_k_m", "f16"]
