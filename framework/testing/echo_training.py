"""How the echo backend trains: a row a step, with validations, and every order obeyed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from framework.api.protocols import TrainRun
from framework.api.records import Order, Step, TokenRow, TrainResult
from framework.api.schedule import is_due

if TYPE_CHECKING:
    from framework.testing.echo import EchoModel

WEIGHTS = "echo.json"


class EchoTraining:
    """One training.

    Args:
        model: learns the rows.
        rows: what it learns.
        validation: of which the loss is taken.
        run: is told, and gives orders.
    """

    def __init__(
        self, model: EchoModel, rows: Sequence[TokenRow], validation: Sequence[TokenRow], run: TrainRun
    ) -> None:
        self.model = model
        self.config: Any = model.plan.training
        self.rows = rows
        self.validation = validation
        self.run = run
        self.total = min(len(rows), self.config.max_steps or len(rows))
        self.rate = self.config.learning_rate
        self.validations = 0
        self.kept: tuple[dict[str, str], list[list[int]]] | None = None

    def train(self) -> TrainResult:
        """Learn until the last step, or until the order to stop, and save what was learned or set aside."""
        losses: list[float] = []
        tokens = 0
        for number in range(1, self.total + 1):
            row = self.rows[number - 1]
            self.model.learn(row)
            losses.append(self._at("losses", number, 1 / number))
            tokens += len(row.input_ids)
            norm, seconds = self._at("grad_norms", number, 1.0), 0.001 * number
            epoch = number / len(self.rows)
            step = Step(number, self.total, epoch, losses[-1], self.rate, norm, tokens, seconds)
            if self._tell(step):
                break
        if self.kept is not None:
            self.model.learned, self.model.rows = self.kept
        self.run.checkpoint.mkdir(parents=True, exist_ok=True)
        (self.run.checkpoint / WEIGHTS).write_text(json.dumps([self.model.learned, self.model.rows]), encoding="utf-8")
        done = self.rows[: len(losses)]
        return TrainResult(
            steps=len(losses),
            epochs=len(losses) / len(self.rows),
            train_loss=sum(losses) / len(losses),
            last_loss=losses[-1],
            seconds=0.001 * len(losses),
            tokens=tokens,
            supervised_tokens=sum(row.supervised for row in done),
            trainable_parameters=len(self.model.learned),
            total_parameters=len(self.model.learned),
            peak_memory_bytes=1,
            checkpoint=self.run.checkpoint.name,
        )

    def _tell(self, step: Step) -> bool:
        """Tell of a step and obey; whether the training ends there."""
        eval_steps, epoch = self.config.eval_steps, len(self.rows)
        due = is_due(eval_steps, step.step, epoch, self.total, validated=self.validations > 0)
        ends = self._obey(self._validated(step) if due else step)
        if ends and self.validations and not due:
            self._obey(self._validated(step))
        return ends

    def _validated(self, step: Step) -> Step:
        metrics = dict(self.run.measure())
        if not self.validation and not metrics:
            return step
        self.validations += 1
        loss = self.model.loss(self.validation) if self.validation else None
        if loss is not None:
            loss = self._at("eval_losses", self.validations, loss)
        return dataclasses.replace(step, eval_loss=loss, metrics=metrics)

    def _obey(self, step: Step) -> bool:
        order = self.run.on_step(step) or Order()
        if order.keep:
            self.kept = dict(self.model.learned), list(self.model.rows)
        self.rate *= order.rate
        return bool(order.stop)

    def _at(self, setting: str, number: int, own: float) -> float:
        """Return the value of a setting with a number, from 1; the last one for later ones, `own` where none is set."""
        # A backend that is built on this one may have no such setting.
        values: Sequence[float] = getattr(self.config, setting, ())
        return values[min(number, len(values)) - 1] if values else own
