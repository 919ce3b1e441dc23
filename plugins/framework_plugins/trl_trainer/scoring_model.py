"""A model that gives scores: RewardTrainer trains it, and it is measured by the scores of held-out pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForSequenceClassification

from framework import FrameworkError
from framework.api import Guard, Measure, MeasureKind, atomic_folder, is_out_of_memory
from framework.api.training import ModelPlace, Role, TokenGroup, TokenRow, TrainRun
from framework_plugins.trl_trainer.model import TrlModel

HEAD = "score"
"""What transformers calls the layer that gives the scores, which no base has: it starts from random numbers."""
ACCURACY, MARGIN = "preference_accuracy", "preference_margin"
Validation = tuple[float | None, Mapping[str, float]]


class ScoringModel(TrlModel):
    """A base whose head is one score, with an adapter; untrained it gives nothing to compare with."""

    base_key = ""

    @classmethod
    def check(cls, location: ModelPlace, *, trust: bool) -> None:
        """Make sure that transformers has the model with such a head.

        Raises:
            FrameworkError: it does not.
        """
        config = AutoConfig.from_pretrained(location.folder, trust_remote_code=trust)
        config.num_labels = 1
        try:
            with torch.device("meta"):
                head = getattr(AutoModelForSequenceClassification.from_config(config), HEAD, None)
        except ValueError:
            head = None
        if not isinstance(head, torch.nn.Linear):
            raise FrameworkError(
                f"trainer.trl_class=RewardTrainer: transformers has no model_type={config.model_type} that gives a "
                f"score by a layer called {HEAD}: choose another model"
            )

    def _trained_config(self) -> Any:
        config: Any = super()._trained_config()
        config.task_type = "SEQ_CLS"  # with which peft trains and saves the head
        return config

    @property
    def reader(self) -> Any:
        """What puts the head on the weights."""
        return _read

    def load(self, folder: Path, peft_config: Any) -> Any:
        """Load it; a score is read at the last token that does not pad."""
        model = super().load(folder, peft_config)
        model.config.get_text_config().pad_token_id = self.pad_id
        return model

    def restore(self, checkpoint: Path) -> None:
        """Load the trained weights, when they are first needed."""
        self.close()
        self.trained, self._restored = True, checkpoint

    def as_base(self) -> AbstractContextManager[None]:
        """Let it measure nothing for a while."""
        return self._noting_base(nullcontext())

    def save_weights(self, folder: Path, state: dict[str, Any] | None = None, *, check: bool = True) -> None:
        """Write the adapter with the head, and the tokenizer, whose padding the scores depend on."""
        del state, check
        with atomic_folder(folder, replace=True) as staging:
            self.model.save_pretrained(staging, save_embedding_layers=False)
            self.tokenizer.save_pretrained(staging)
            (staging / "README.md").unlink(missing_ok=True)  # peft's, an empty form

    def published(self, checkpoint: Path) -> Path:
        """Return the folder as it is: its names are those of the class that peft opens."""
        return checkpoint

    def scores(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return the score of each conversation."""
        model, size, scores = self._in_eval_mode(), self.config.per_device_eval_batch_size, list[float]()
        with torch.no_grad():
            for begin in range(0, len(rows), size):
                ids = [torch.tensor(row.input_ids) for row in rows[begin : begin + size]]
                mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
                padded = pad_sequence(ids, batch_first=True, padding_value=self.pad_id)
                device = self.machine.device
                logits = model(input_ids=padded.to(device), attention_mask=mask.to(device), use_cache=False).logits
                scores += logits[:, 0].float().tolist()
        return scores

    def measures(self, groups: Sequence[TokenGroup]) -> Mapping[str, Measure]:
        """Measure in how many pairs the chosen answer has the higher score, the margin, and the loss."""
        if self._is_base:
            return {}
        rows = [group.rows[group.roles.index(role)] for group in groups for role in (Role.answer, Role.rejected)]
        scores = iter(self.scores(rows))
        margins = [chosen - rejected for chosen, rejected in zip(scores, scores, strict=True)]
        where = [group.where for group in groups]

        def measure(items: Iterable[float], kind: MeasureKind, **more: Any) -> Measure:
            values: list[float | None] = [*items]
            return Measure(fmean(value or 0.0 for value in values), values, where=where, kind=kind, item="pair", **more)

        right = (float(margin > 0) for margin in margins)
        losses = (max(-margin, 0.0) + math.log1p(math.exp(-abs(margin))) for margin in margins)
        return {
            Measure.EVAL_LOSS: measure(losses, MeasureKind.loss),
            ACCURACY: measure(right, MeasureKind.content, higher_is_better=True, compared=True),
            MARGIN: measure(margins, MeasureKind.loss, higher_is_better=True, unit="points"),
        }

    def rehearse(self, validation: Sequence[TokenGroup]) -> None:
        """Score the longest conversations."""
        rows = sorted((row for group in validation for row in group.rows), key=lambda row: -len(row.input_ids))
        self.scores(rows[: self.config.per_device_eval_batch_size])

    def validate(self, validation: Sequence[TokenGroup], run: TrainRun) -> Validation:
        """Measure during a training."""
        if not validation:
            return None, run.measure()
        values = {name: measure.value for name, measure in self.measures(validation).items()}
        self.model.train()
        return values.pop(Measure.EVAL_LOSS), {**values, **run.measure()}


def _read(location: ModelPlace, settings: dict[str, Any]) -> Any:
    """Read the weights below the head.

    Raises:
        FrameworkError: others than those of the head are missing.
    """
    names = ("dtype", "device_map", "attn_implementation", "trust_remote_code", "use_safetensors", "use_kernels")
    config = AutoConfig.from_pretrained(location.folder, trust_remote_code=settings["trust_remote_code"])
    config.num_labels = 1
    with Guard(f"model {location.name}: transformers cannot load it with a score", passes=is_out_of_memory):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            location.folder,
            config=config,
            output_loading_info=True,
            **{name: settings[name] for name in names},
        )
    if missing := {name for name in info["missing_keys"] if not name.startswith(f"{HEAD}.")}:
        raise FrameworkError(f"model {location.name}: its .safetensors lack {min(missing)}: download it again")
    return model
