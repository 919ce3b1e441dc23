"""How often experts are chosen: as the routers choose, the same in each packing, without a change of the loss."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from framework.api.training import TokenRow
from framework.run import pipeline
from tests.support.bases import tiny_base
from tests.support.training import make, opened

SHARED = [*range(5, 29)]
ROWS = [
    TokenRow(ids := [*start, *range(30 + 7 * number, 30 + 7 * number + length)], list(ids))
    for number, (start, length) in enumerate([(SHARED, 9), (SHARED, 4), ([3], 12), (SHARED, 20), ([4, 9], 3)])
]
ALL = "adapter.experts=all"
FAMILIES = ("qwen3_moe", "qwen3_moe all", "mixtral", "gpt_oss", "qwen3_5_moe_text", "deepseek_v3", "granitemoehybrid")
OWN_SCORES = ("deepseek_v3", "granitemoehybrid")
"""Their routers add to what transformers gives as logits, or it gives none."""


@pytest.mark.parametrize("case", FAMILIES)
def test_choices_are_those_of_the_routers_of_transformers(tmp_path: Path, rows: Path, case: str) -> None:
    family, _, adapted = case.partition(" ")
    words = ["trainer.packing=none", *([ALL] if adapted else [])]
    with opened(make(tiny_base(tmp_path / "model", family), rows, tmp_path / "run", *words)) as (model, _):
        scored = model.score(ROWS)
        use = model.expert_use
        assert scored == model.score(ROWS)
        assert use is not None
        assert use == model.expert_use
        chosen: list[torch.Tensor] = []
        for row in ROWS if family not in OWN_SCORES else ():
            with torch.no_grad():
                given = model.model(input_ids=torch.tensor([row.input_ids]), use_cache=False, output_router_logits=True)
            chosen.append(torch.stack([logits.topk(use.chosen).indices for logits in given.router_logits]))
    assert use.tokens == sum(len(row.input_ids) for row in ROWS)
    assert use.texts == len(ROWS)
    assert {sum(counts) for counts in use.counts.values()} == {use.tokens * use.chosen}
    for number, (counts, seen) in enumerate(zip(use.counts.values(), use.in_texts.values(), strict=True)):
        if chosen:
            assert (
                counts == torch.cat([row[number].flatten() for row in chosen]).bincount(minlength=len(counts)).tolist()
            )
            assert seen == [sum(int((row[number] == expert).any()) for row in chosen) for expert in range(len(counts))]


def test_each_packing_counts_the_same_tokens_and_texts(tmp_path: Path, rows: Path) -> None:
    base = tiny_base(tmp_path / "model", "qwen3_moe")
    uses = []
    for packing in ("none", "pad", "tree"):
        with opened(make(base, rows, tmp_path / packing, f"trainer.packing={packing}")) as (model, _):
            assert model.facts["packing"].startswith(packing) or packing == "none"
            model.score(ROWS)
            uses.append(model.expert_use)
    none, pad, tree = uses
    assert none == pad
    assert none is not None
    assert tree is not None
    assert (tree.counts, tree.texts, tree.tokens) == (none.counts, none.texts, none.tokens)
    for layer, seen in tree.in_texts.items():  # the common beginning is of no text
        assert all(part <= whole for part, whole in zip(seen, none.in_texts[layer], strict=True))


def test_a_model_without_experts_has_none(tmp_path: Path, rows: Path) -> None:
    with opened(make(tiny_base(tmp_path / "model", "llama"), rows, tmp_path / "run")) as (model, _):
        model.score(ROWS)
        assert model.expert_use is None


def test_the_report_says_how_evenly_experts_are_used_before_and_after(tmp_path: Path, rows: Path) -> None:
    base = tiny_base(tmp_path / "model", "qwen3_moe")
    words = ("trainer.max_steps=2", "exporter=[]", "evaluator=[]", "stages=[data,baseline,train,evaluate,report]")
    pipeline.run(make(base, rows, tmp_path / "run", *words))
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    (concern,) = (part for part in report["verdict"]["concerns"] if part["name"] == "experts")
    assert re.match(
        r"experts of 2 layers on [\d,]+ held-out tokens: before \d of 8 unused, .*; after ", concern["text"]
    )
    assert concern["text"] in report["verdict"]["more"]
    saved = json.loads((tmp_path / "run" / "evaluate.json").read_text(encoding="utf-8"))
    assert [*saved["experts"]["counts"]] == ["model.layers.0.mlp.experts", "model.layers.1.mlp.experts"]
