"""The plan beside the peaks that others publish for models with experts, hybrids, and embeddings in each layer.

    python -m benchmarks.memory_families

Axolotl's are of its examples at 067b021c: the README beside each names the peak, and the YAML the settings. Unsloth's
are in its announcements, without settings: one row of 2,048 tokens with a LoRA of rank 16 is assumed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.memory import Attention, Loss, MemorySettings, Shape, Weights, estimate
from framework_plugins.hf.load.preset_configs import CONFIGS

GIB, GB, WITHIN = 2**30, 10**9, 0.15
HALF = MemorySettings(
    rows=1, length=2048, rank=16, autocast=True, copies=False, attention=Attention.flash, loss=Loss.learned, chunk=0,
    state_bytes=2,
)  # fmt: skip
NF4 = replace(HALF, weights=Weights.nf4, double_quant=True, upcast=True)
"""Axolotl calls peft's prepare_model_for_kbit_training, which raises what is not quantized to fp32; not with packed
experts."""
ATTENTION, EACH = ("q", "k", "v", "o"), ("q", "k", "v", "o", "gate", "up", "down")
TWO: Mapping[str, Any] = {"rows": 2, "rank": 32}


@dataclass(frozen=True)
class Peak:
    """A published peak: the model, how it was trained for the table, bytes, and the settings for the plan."""

    model: str
    settings: str
    size: float
    training: MemorySettings


def peaks() -> Iterator[Peak]:
    """Give all that were found with a model whose shape is known."""
    few = replace(NF4, targets=("q", "k", "v", "o", "up", "down"))
    yield Peak("Qwen/Qwen3.5-27B", "Axolotl, NF4, LoRA", 47 * GIB, few)
    each = replace(NF4, targets=EACH)
    yield Peak("google/gemma-4-31B-it", "Axolotl, NF4, LoRA", 25.2 * GIB, replace(each, offloaded=True))
    packed = replace(NF4, packed_experts=True, upcast=False, rows=2, rank=32, targets=("o",))
    yield Peak("zai-org/GLM-4.7-Flash", "Axolotl, NF4 with the experts, LoRA", 24 * GIB, packed)
    wide = replace(packed, weights=Weights.int8)
    yield Peak("zai-org/GLM-4.7-Flash", "Axolotl, int8 with the experts, LoRA", 35 * GIB, wide)
    plain = replace(packed, packed_experts=False, upcast=True)
    yield Peak("zai-org/GLM-4.7-Flash", "Axolotl, NF4, experts as they are, LoRA", 127 * GIB, plain)
    experts = replace(each, packed_experts=True, upcast=False, length=4096, trained=_with_experts())
    yield Peak("google/gemma-4-26B-A4B-it", "Axolotl, NF4 with the experts, LoRA on them", 21 * GIB, experts)
    offloaded = replace(HALF, length=4096, rank=8, targets=ATTENTION, offloaded=True)
    yield Peak("unsloth/gpt-oss-20b-BF16", "Axolotl, 16 bits, LoRA", 44 * GIB, offloaded)
    # The README names a transformers 4, in which experts were linear layers, which are packed.
    eight = replace(wide, upcast=True, rows=4, length=4096, targets=ATTENTION[:3], state_bytes=8)
    yield Peak("LiquidAI/LFM2-8B-A1B", "Axolotl, int8 with the experts, LoRA", 16.2 * GIB, eight)
    full = replace(HALF, rank=0, rows=4, length=4096, checkpointing=False, state_bytes=8)
    yield Peak("LiquidAI/LFM2.5-350M", "Axolotl, 16 bits, all weights", 25 * GIB, full)
    yield Peak("allenai/Olmo-3-7B-Instruct", "Axolotl, NF4, LoRA", 11.3 * GIB, replace(each, **TWO))
    yield Peak("unsloth/Ministral-3-3B-Instruct-2512", "Axolotl, NF4, LoRA", 4.76 * GIB, replace(each, **TWO))
    small = "mistralai/Mistral-Small-3.2-24B-Instruct-2506"
    yield Peak(small, "Axolotl, NF4, LoRA (Magistral Small 2506)", 24 * GIB, replace(each, **TWO))
    yield Peak(small, "Axolotl, NF4, LoRA (Magistral Small 2507)", 19.1 * GIB, replace(each, **TWO))
    yield Peak(small, "Axolotl, int8, LoRA", 29.4 * GIB, replace(each, weights=Weights.int8, **TWO))
    unsloth = replace(NF4, packed_experts=True, upcast=False, targets=EACH, offloaded=True)
    yield Peak("Qwen/Qwen3-30B-A3B", "Unsloth, NF4 with the experts, LoRA", 17.5 * GB, unsloth)
    yield Peak("unsloth/gpt-oss-20b-BF16", "Unsloth, NF4 with the experts, LoRA", 12.8 * GB, unsloth)
    yield Peak("Qwen/Qwen3-30B-A3B", "Unsloth, 16 bits, LoRA", 63 * GB, replace(HALF, targets=EACH, offloaded=True))


def _with_experts() -> int:
    """Return the parameters of LoRA of rank 16 on all of Gemma 4 26B's layers and experts."""
    shape = Shape.from_config(CONFIGS["google/gemma-4-26B-A4B-it"])
    experts = sum(block.experts * sum(each.inputs + each.outputs for each in block.expert) for block in shape.blocks)
    return shape.lora_parameters(16, EACH) + 16 * experts


def table() -> Iterator[str]:
    """Give the lines of the table, and how far off the plan is."""
    yield table_head("model", "training", "published", "planned", "off")
    errors = []
    for peak in peaks():
        planned = estimate(Shape.from_config(CONFIGS[peak.model]), peak.training).reserved
        errors.append(abs(planned / peak.size - 1))
        sizes = f"{peak.size / GIB:.1f}", f"{planned / GIB:.1f}", f"{planned / peak.size - 1:+.0%}"
        yield table_row(peak.model.rpartition("/")[2], peak.settings, *sizes)
    within = sum(error <= WITHIN for error in errors)
    yield f"\n**{within} of {len(errors)} are within 15%; the median error is {statistics.median(errors):.0%}.**"


def main() -> None:
    """Print the table."""
    command_line(__doc__).parse_args()
    for line in table():
        OUT.print(line)


if __name__ == "__main__":
    main()
