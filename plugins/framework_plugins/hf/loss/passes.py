"""How rows are processed, and what can be made smaller: rows in a pass, activations, logits at a time.

None of it changes what is computed: a step has the same rows, and its loss is divided by the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peft import PeftModel

from framework.api import count
from framework.api.training import TokenGroup
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.packing.parts import Packer, Part, part_tokens

LENGTH_SETTING = "trainer.max_seq_length"
"""The setting that makes the smallest pass smaller."""


class Passes:
    """The passes of training, or those of the validation loss.

    Args:
        packer: cuts rows into parts.
        losses: computes the loss of a part.
        model: the model, where its activations are kept for a backward pass; else None.
        longest_kept: tokens of the longest pass that keeps its activations; None: all do, or none.
    """

    def __init__(self, packer: Packer, losses: Losses, model: Any = None, longest_kept: int | None = None) -> None:
        self.packer = packer
        self.losses = losses
        self.model = model
        self.longest_kept = longest_kept

    @contextmanager
    def checkpointing(self, part: Part) -> Iterator[None]:
        """Let a long pass compute its activations again in the backward pass."""
        is_long = self.longest_kept is not None and part_tokens(part) > self.longest_kept
        enabled = is_long and enable_checkpointing(self.model)
        try:
            yield
        finally:
            for module in self.model.modules() if enabled else ():
                if getattr(module, "gradient_checkpointing", False):
                    module.gradient_checkpointing = False

    def reduce_memory(self, rows: Sequence[TokenGroup]) -> str:
        """Make passes over these rows need less memory and say how; empty if nothing is left.

        The cheapest comes first: more and smaller passes cost some speed, checkpointing a third of it, and few logits
        at a time gain little.
        """
        smaller = self.packer.smaller(rows)
        if smaller is not None:
            before, self.packer = self.packer, smaller
            if before.together and not smaller.together:
                return "the rows of a group in passes of their own, scored before the loss is known"
            if before.tokens:
                return f"{count(smaller.tokens, 'token')} in a pass instead of {before.tokens:,}"
            return f"{count(smaller.rows, 'group' if before.together else 'row')} in a pass instead of {before.rows}"
        if self.model is not None and enable_checkpointing(self.model):
            return "gradient checkpointing"
        return self.losses.fewer_logits()


def enable_checkpointing(model: Any) -> bool:
    """Let a model compute its activations again in the backward pass; False if it does already, or cannot."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    if is_checkpointing(model) or not getattr(plain, "supports_gradient_checkpointing", False):
        return False
    has_new_name = hasattr(plain, "activation_checkpointing_enable")  # the name since transformers 5.24
    enable = plain.activation_checkpointing_enable if has_new_name else plain.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    return True


def is_checkpointing(model: Any) -> bool:
    """Whether a model computes its activations again in the backward pass."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
