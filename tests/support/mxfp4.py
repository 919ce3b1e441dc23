"""A tiny gpt-oss as it was published: the files have two numbers of four bits in a byte, and a scale for each 32."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.support.bases import tiny_base


def published_in_mxfp4(folder: Path) -> Path:
    """Write the model with experts of any numbers."""
    base = tiny_base(folder, "gpt_oss")
    file, config_file = base / "model.safetensors", base / "config.json"
    tensors, generator = load_file(file), torch.Generator().manual_seed(3)
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(119, 123, (experts, outputs, inputs // 32), generator=generator, dtype=torch.uint8)
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    save_file(tensors, file, metadata={"format": "pt"})
    settings = json.loads(config_file.read_text(encoding="utf-8"))
    settings["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    config_file.write_text(json.dumps(settings), encoding="utf-8")
    return base
