"""A product with weights in NF4 is really computed, and a wrong one is reported."""

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit

from framework.api.diagnostic import DiagnosticResult, State
from framework_plugins.hf.machine.diagnostics import nf4


def test_bitsandbytes_is_reported_with_its_version() -> None:
    assert nf4.imported(None) == DiagnosticResult(State.ok, "can be imported", bitsandbytes.__version__)


def test_a_product_in_nf4_agrees_with_that_of_the_dequantized_weights() -> None:
    found = nf4.product(None)
    assert (found.state, found.fix) == (State.ok, "")
    assert found.detail.startswith("a product and its gradient on this ")


def test_a_wrong_product_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    right = bitsandbytes.matmul_4bit
    monkeypatch.setattr(bitsandbytes, "matmul_4bit", lambda *parts, **more: right(*parts, **more) * 1.1)
    found = nf4.product(None)
    assert found.state is State.broken
    assert found.detail.startswith("a product or its gradient is 10.00% off that of the dequantized weights on this ")
    assert found.fix == nf4.FIX


@pytest.mark.parametrize(("damage", "told"), [(0.0, "100.0%"), (float("nan"), "nan%")])
def test_weights_that_are_lost_are_broken(monkeypatch: pytest.MonkeyPatch, damage: float, told: str) -> None:
    right = dequantize_4bit
    monkeypatch.setattr(nf4, "dequantize_4bit", lambda *parts: torch.as_tensor(right(*parts)) * damage)
    found = nf4.product(None)
    assert found.state is State.broken
    assert found.detail.startswith(f"{told} of the weights are lost on this ")
