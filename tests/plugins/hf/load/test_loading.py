"""hf/load/loading.py: what a loaded model holds."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make, opened


def test_what_a_quantization_leaves_as_it_is_does_not_keep_the_mapped_file(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(4)), encoding="utf-8")
    with opened(make(tiny_llama(tmp_path / "base"), rows, tmp_path / "run", "quantization=nf4")) as (model, _):
        left = [weight for weight in model.model.parameters() if weight.is_floating_point()]
        assert left
        assert all(weight.untyped_storage().nbytes() == weight.nbytes for weight in left)
