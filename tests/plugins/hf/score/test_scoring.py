"""hf/score/scoring.py: what a model thinks of rows, in every packing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.passes import Passes
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.machine.out_of_memory import OomRetry
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.score import divergence, scoring
from framework_plugins.hf.score.scoring import Evaluation
from framework_plugins.hf.settings.config import Packing
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened

START = list(range(3, 60))


def rows() -> list[TokenRow]:
    """Return rows with a common beginning, one of them twice, one that learns nothing and one that learns all of it."""
    ends = [[7, 8, 9], [7, 8, 5, 4], [60], [7, 8, 9]]
    made = [TokenRow(START + end, [IGNORE] * len(START) + end) for end in ends]
    return [*made, TokenRow(START[:5], [IGNORE] * 5), TokenRow(START[:6], START[:6]), made[0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


def adapted(folder: Path, **more: Any) -> Any:
    """Return a model with a LoRA adapter that changes what it says."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    install.use_branches(model)
    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", **more))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    return model.eval()


def evaluation(model: Any, packing: Packing = Packing.tree) -> Evaluation:
    losses = probe(Losses(model, packing, dense_mask=False))
    assert losses.packing is packing
    return Evaluation(Passes(Packer(packing, 4, 0), losses), OomRetry({}, "", retries=False), "cpu")


def alone(model: Any, row: TokenRow) -> torch.Tensor:
    """Return the log-probabilities at the places of a row from which something is learned, as transformers has them."""
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([row.input_ids])).logits[0].double()
    places = [at - 1 for at, label in enumerate(row.labels) if label != IGNORE and at]
    return logits.log_softmax(-1)[places]


@pytest.mark.parametrize("packing", list(Packing), ids=str)
def test_scores_are_those_of_each_row_by_itself(folder: Path, packing: Packing) -> None:
    model = adapted(folder)
    made = scoring.score(evaluation(model, packing), rows())
    for row, scored in zip(rows(), made, strict=True):
        expected = alone(model, row)
        wanted = [label for at, label in enumerate(row.labels) if label != IGNORE and at]
        assert scored.log_probs == pytest.approx(expected[range(len(wanted)), wanted].tolist(), abs=1e-4)
        assert scored.top == expected.argmax(-1).tolist()
    assert [len(scored.top) for scored in made] == [3, 4, 1, 3, 0, 5, 3]


@pytest.mark.parametrize("packing", list(Packing), ids=str)
def test_the_divergence_is_that_of_whole_distributions(folder: Path, packing: Packing) -> None:
    model = adapted(folder)
    made = divergence.adapter_divergence(evaluation(model, packing), rows(), model.disable_adapter)
    for row, found in zip(rows(), made, strict=True):
        with model.disable_adapter():
            base = alone(model, row)
        if len(base):
            expected = float((base.exp() * (base - alone(model, row))).sum(-1).mean())
            assert found == pytest.approx(expected, rel=1e-3)
        else:
            assert found == 0
    with model.disable_adapter():
        same = divergence.adapter_divergence(evaluation(model), rows(), model.disable_adapter)
    assert same == pytest.approx([0] * len(same), abs=1e-6)


def test_the_base_is_known_to_be_itself_without_a_pass(folder: Path, tmp_path: Path, rows: Path) -> None:
    with opened(make(folder, rows, tmp_path / "run")) as (model, data):
        asked = data.train[:3]
        with model.as_base():
            model.model.base_model.forward = None  # whoever called it would fail
            assert model.divergence(asked) == [0.0, 0.0, 0.0]
            del model.model.base_model.forward
        assert model.divergence(asked) == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)


def test_a_base_that_is_gone_is_remembered_by_its_likeliest_tokens(folder: Path) -> None:
    """The divergence is at most the true one, and near it."""
    model = adapted(folder)
    kept, measured = divergence.BaseTopTokens(), evaluation(model)
    assert kept.divergence(measured, rows()) is None
    with model.disable_adapter():
        kept.remember(measured, rows())
        assert kept.divergence(measured, rows()) == pytest.approx([0] * len(rows()), abs=1e-5)
    true = divergence.adapter_divergence(measured, rows(), model.disable_adapter)
    made = kept.divergence(measured, rows())
    assert made is not None
    for found, expected in zip(made, true, strict=True):
        assert found <= expected + 1e-5
        assert found >= 0.5 * expected
