"""bitsandbytes: whether it can be imported, and whether it multiplies with weights in NF4."""

from __future__ import annotations

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

from framework.api.diagnostic import DiagnosticResult, State
from framework.api.plan import Plan

ROWS, WIDTH, INPUTS = 256, 512, 16
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 2e-2, torch.float16: 5e-3}
"""How far the product may be from that of the dequantized weights, relative to its size."""
LOST = (0.02, 0.15)
"""What NF4 loses of normally distributed weights lies between these: about a tenth of their size."""
FIX = "pip install --upgrade bitsandbytes, or set quantization=none"


def imported(_: Plan | None) -> DiagnosticResult:
    """It is, by now."""
    return DiagnosticResult(State.ok, "can be imported", bitsandbytes.__version__)


def product(_: Plan | None) -> DiagnosticResult:
    """Quantize a matrix with double quantization as a run does, multiply, go back, and compare with the dequantized."""
    device, dtype = _place()
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(ROWS, WIDTH, generator=generator).to(device, dtype)
    inputs = torch.randn(INPUTS, WIDTH, generator=generator).to(device, dtype).requires_grad_()
    packed, state = quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
    plain = dequantize_4bit(packed, state)
    distance = _distance(plain, weights)
    multiplied = bitsandbytes.matmul_4bit(inputs, packed.t(), quant_state=state)
    multiplied.sum().backward()
    off = max(_distance(multiplied, inputs @ plain.t()), _distance(inputs.grad, plain.sum(0).expand_as(inputs)))
    where = f"on this {device.upper() if device == 'cpu' else 'GPU'} in {str(dtype).removeprefix('torch.')}"
    if not LOST[0] < distance < LOST[1]:
        return DiagnosticResult(
            State.broken, f"{distance:.1%} of the weights are lost {where}, about 9% are usual", fix=FIX
        )
    if not off < TOLERANCES[dtype]:
        return DiagnosticResult(
            State.broken, f"a product or its gradient is {off:.2%} off that of the dequantized weights {where}", fix=FIX
        )
    return DiagnosticResult(
        State.ok, f"a product and its gradient {where} are those of the dequantized weights, {off:.2%} off"
    )


def _place() -> tuple[str, torch.dtype]:
    if not torch.cuda.is_available():
        return "cpu", torch.float32
    return "cuda", torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _distance(one: torch.Tensor | None, other: torch.Tensor) -> float:
    """Return how far two are apart, relative to the size of the second; what is not there is infinitely far."""
    if one is None:
        return float("inf")
    one, other = one.detach(), other.detach()
    return float((one.float() - other.float()).norm() / other.float().norm())
