"""The families that people train, from training to GGUF: docs/reference/models.md says what came out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.model_chain import COLUMNS, chain, k_quants
from tests.support.model_page import read
from tests.support.twins import TWINS


def test_the_page_has_a_line_for_each_family() -> None:
    assert [*read("twins")] == ["model", *TWINS]


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_a_family_goes_as_far_as_the_page_says(name: str, tmp_path: Path) -> None:
    if TWINS[name].package:
        pytest.importorskip(TWINS[name].package)
    assert [*zip(COLUMNS, chain(name, tmp_path), strict=True)] == [*zip(COLUMNS, read("twins")[name], strict=True)]


@pytest.mark.slow  # a Llama in tests/plugins/exports/gguf/test_exporter.py, in the default
def test_a_wide_twin_is_written_in_k_quants_with_parity(tmp_path: Path) -> None:
    types = k_quants("Qwen3 MoE", tmp_path)
    assert types["Q4_K"] > types["Q6_K"] > 0
