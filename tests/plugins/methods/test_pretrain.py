"""Continued pretraining: documents fill blocks, are seen as if alone, and are judged by their perplexity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import torch
from torch.nn import functional

from framework import testing
from framework.api import records
from framework.api.data import Data
from framework.api.records import Example, Message, Report, TokenRow
from framework.data.stage import load_data
from framework.run import pipeline
from framework.testing import MethodSuite
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.machine.precision import to_eval_mode
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.settings.config import Packing
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened

WORDS = ("data.validation_split=0", "audit=[]", "method=pretrain")


class TestPretrain(MethodSuite):
    """The method keeps what every method keeps."""

    option = "pretrain"
    examples: ClassVar = [Example((), "text", f"row {number}", text=f"Text {number}.") for number in range(3)]
    refused: ClassVar = [
        (
            Example((Message("user", "Why?"), Message("assistant", "So.")), "chatml"),
            "has a conversation (format chatml)",
        ),
        (Example((), "text", text=" \n"), "has a text without a word"),
    ]


def text_of(number: int, words: int) -> str:
    """Return a text whose words no other text has."""
    drawn = (7919 * number + 104729 * word for word in range(words))
    return " ".join("".join(chr(97 + each // 26**place % 26) for place in range(4)) for each in drawn)


def texts(count: int, words: int = 4) -> str:
    rows = ({"text": text_of(number, 1 + number % words)} for number in range(count))
    return "".join(json.dumps(row) + "\n" for row in rows)


def load(folder: Path, text: str, *words: str) -> Data:
    file = folder / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    plan = testing.plan(["data=local_file", f"data.path={file}", *words], run_dir=folder / "run")
    return load_data(plan, testing.EchoModel(plan))


def sum_of(model: torch.nn.Module, rows: list[TokenRow]) -> torch.Tensor:
    """Return the summed loss of rows one by one, as transformers has it."""
    losses = []
    for row in rows:
        logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1]
        losses.append(functional.cross_entropy(logits, torch.tensor(row.labels[1:]), reduction="sum"))
    return torch.stack(losses).sum()


def gradient(model: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """Return a loss with its gradients, in one row."""
    model.zero_grad()
    torch.autograd.backward(loss)
    found = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return torch.cat([loss.detach()[None], *found])


def test_texts_of_a_block_are_seen_and_learned_as_if_alone(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(texts(12), encoding="utf-8")
    plan = make(tiny_llama(tmp_path / "model"), file, tmp_path / "run", *WORDS, "trainer.max_seq_length=64")
    with opened(plan) as (model, data):
        block = max(data.train_groups, key=lambda group: len(group.rows))
        assert len(block.rows) > 2
        assert all(row.labels[1:] == row.input_ids[1:] for row in block.rows)
        assert all(row.input_ids[-1] in model.stop_ids for row in block.rows)
        net = to_eval_mode(model.model, "cpu")
        losses = probe(Losses(net, Packing.tree, dense_mask=True))
        (part,) = Packer(Packing.tree, 8, 0, dense_mask=True)([block])
        assert part["position_ids"][0].tolist().count(0) >= len(block.rows)
        together, alone = gradient(net, losses.sum(part)), gradient(net, sum_of(net, [*block.rows]))
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_texts_fill_blocks_and_long_ones_are_cut_at_the_limit(tmp_path: Path) -> None:
    long = json.dumps({"text": text_of(40, 100)}) + "\n"
    data = load(tmp_path, texts(40) + long, *WORDS, "trainer.max_seq_length=32")
    groups, result = list(data.train_groups), data.result
    assert (result.cut_texts, result.block_rows, result.train_rows) == (1, len(data.train), len(groups))
    sizes = [sum(len(row.input_ids) for row in group.rows) for group in groups]
    assert max(sizes) == 32
    assert sum(sizes) == result.tokens == sum(len(row.input_ids) for row in data.train)
    assert sum(sizes) > 0.9 * 32 * len(sizes)
    assert [row.where for row in data.train if "part" in row.where][:2] == [
        "rows.jsonl:41, part 1",
        "rows.jsonl:41, part 2",
    ]
    longer = load(tmp_path, texts(40) + long, *WORDS, "trainer.max_seq_length=48")
    assert max(len(row.input_ids) for row in longer.train) == 48


def test_the_last_row_of_a_text_has_more_than_its_stop_token(tmp_path: Path) -> None:
    data = load(tmp_path, json.dumps({"text": text_of(0, 96)}) + "\n", *WORDS, "trainer.max_seq_length=32")
    assert [len(row.input_ids) for row in data.train] == [32, 32, 17, 16]


def test_a_text_that_is_cut_is_held_out_whole(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": text_of(number, 60)}) + "\n" for number in range(12))
    words = ("audit=[]", "method=pretrain", "trainer.max_seq_length=32", "data.validation_split=0.25")
    data = load(tmp_path, rows, *words)
    sides = [{row.where.partition(",")[0] for row in part} for part in (data.train, data.validation)]
    assert sides[1]
    assert not sides[0] & sides[1]
    assert len(set(data.clusters)) == len(sides[1])


def test_a_run_on_texts_ends_in_a_verdict_by_perplexity(tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text("\n".join(text_of(number, 8) for number in range(40)), encoding="utf-8")
    words = ["data=local_file", f"data.path={file}", "method=pretrain", "audit=[]", "data.validation_split=0.25"]
    plan = testing.plan(words, run_dir=tmp_path / "run")
    pipeline.run(plan)
    report = records.load(Report, plan.run_dir / "report.json")
    assert report.verdict is not None
    assert report.data is not None
    assert report.verdict.primary == "text_perplexity"
    change = report.metrics["text_perplexity"]
    assert (change.item, change.pairs) == ("held-out text", report.data.validation_rows)
    assert "held-out text" in " ".join(report.verdict.lines)
