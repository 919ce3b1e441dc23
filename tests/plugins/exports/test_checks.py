"""exports/checks.py: what an exporter could not do later is refused before the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import testing
from framework.api.program import check_model
from framework.util.errors import FrameworkError

GPTQ = {"architectures": ["GptOssForCausalLM"], "quantization_config": {"quant_method": "gptq"}}


@pytest.mark.parametrize("exporter", ["merged", "gguf"])
def test_nothing_is_merged_into_quantized_weights(tmp_path: Path, exporter: str) -> None:
    plan = testing.plan([f"exporter=[{exporter}]"], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match=rf"exporter\.{exporter}: .* quantized \(gptq\), so nothing"):
        check_model(plan, GPTQ)
    check_model(testing.plan(["exporter=[adapter]"], run_dir=tmp_path / "run"), GPTQ)


def test_an_adapter_of_experts_is_no_gguf_adapter(tmp_path: Path) -> None:
    words = ["model=local", f"model.path={tmp_path}", "adapter=lora", "adapter.experts=all", "exporter=[gguf_adapter]"]
    with pytest.raises(FrameworkError, match=r"adapter\.experts=all cannot be stored in a GGUF adapter: set exporter="):
        testing.plan(words, run_dir=tmp_path / "run")
