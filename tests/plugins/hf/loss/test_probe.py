"""hf/loss/probe.py: in which packing a loaded model keeps the states of its rows, and what is said if it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from framework import FrameworkError
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.packing.tree_states import use_tree_states
from framework_plugins.hf.settings.config import Packing
from tests.support.bases import needs_states
from tests.support.family_twins import EXPERTS, HEADS, INDEXER, LATENT, ONE_GROUP, PLAIN, ROUTED
from tests.support.tiny import tiny_llama

CHOSEN = 96
"""Tokens, more than the short rows of a probe have."""


def made(model_type: str, *parts: Any, **changes: Any) -> Any:
    """Return a random model of a family, in evaluation mode."""
    sizes = {name: size for part in parts for name, size in part.items()}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = AutoConfig.for_model(model_type, vocab_size=300, **{**sizes, **changes})
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


class Averaging(torch.nn.Module):
    """An embedding that adds the mean of the sequence to each token, padding and other rows included."""

    def __init__(self, plain: torch.nn.Embedding, error: str, tokens: int) -> None:
        super().__init__()
        self.plain, self.weight, self.num_embeddings = plain, plain.weight, plain.num_embeddings
        self.error = error
        self.tokens = tokens

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if self.error and ids.numel() >= self.tokens:
            raise AttributeError(self.error)
        states: torch.Tensor = self.plain(ids)
        return states + states.mean(1, keepdim=True)


def averaging(folder: Path, error: str = "", tokens: int = 0) -> Any:
    """Return a Llama with that embedding, which fails for that many tokens if there is an error."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama(folder), dtype=torch.float32).eval()
    model.set_input_embeddings(Averaging(model.get_input_embeddings(), error, tokens))
    return model


SHARED = "with shared prefixes the model computes different states"
PADDED = "with padding the model computes different states"


@pytest.mark.parametrize(
    ("packing", "why"), [(Packing.tree, f"{SHARED}; {PADDED}"), (Packing.pad, PADDED), (Packing.none, "")]
)
def test_rows_go_one_by_one_if_padding_changes_their_states(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, packing: Packing, why: str
) -> None:
    losses = probe(Losses(averaging(tmp_path), packing, dense_mask=True))
    assert losses.packing is Packing.none
    assert losses.packing_fallback == (f"none ({why})" if why else "")
    assert (f"trainer.packing=none instead of {packing.value}: {why}" in caplog.text) == bool(why)
    again = Losses(losses.plain, packing, dense_mask=True)
    again.apply_probe(losses.probe_result)
    assert (again.packing, again.problem) == (Packing.none, why)


def test_an_error_in_a_packing_means_the_next_one(tmp_path: Path) -> None:
    losses = probe(Losses(averaging(tmp_path, "no such\nmask", tokens=90), Packing.tree, dense_mask=True))
    assert losses.packing is Packing.none
    assert losses.problem == ("with shared prefixes, AttributeError: no such; with padding, AttributeError: no such")


def test_an_error_of_every_row_is_one_of_the_model(tmp_path: Path) -> None:
    losses = Losses(averaging(tmp_path, "no such\nlayer", tokens=1), Packing.tree, dense_mask=True)
    said = r"^LlamaForCausalLM cannot compute a row of text: AttributeError: no such\. Choose another model"
    with pytest.raises(FrameworkError, match=said):
        probe(losses)


@pytest.mark.parametrize(("heads", "packing"), [(2, Packing.none), (64, Packing.pad)])
def test_rows_longer_than_what_attention_chooses_are_tried(heads: int, packing: Packing) -> None:
    """With two heads many scores are exactly 0, and which of equal ones are chosen depends on padding."""
    sizes = {"index_topk": CHOSEN, "index_n_heads": heads, "first_k_dense_replace": 1, "num_hidden_layers": 2}
    model = made("deepseek_v32", PLAIN, LATENT, ROUTED, ONE_GROUP, INDEXER, **sizes)
    assert probe(Losses(model, Packing.pad, dense_mask=True, longest=CHOSEN)).packing is Packing.pad
    assert probe(Losses(model, Packing.pad, dense_mask=True, longest=CHOSEN + 1)).packing is packing


@needs_states
def test_a_layer_that_is_called_by_position_is_called_so() -> None:
    model = made("zaya", HEADS, EXPERTS, num_experts_per_tok=1)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = model(input_ids=ids, use_cache=False).logits
        use_tree_states(model)
        assert Losses(model, Packing.tree, dense_mask=True).keeps_states
        torch.testing.assert_close(model(input_ids=ids, use_cache=False).logits, before)
    losses = probe(Losses(model, Packing.tree, dense_mask=True))
    assert losses.packing_fallback == f"pad ({SHARED})"
