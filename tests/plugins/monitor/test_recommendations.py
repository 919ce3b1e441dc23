"""The recommendations name the settings with the values of the run."""

from __future__ import annotations

import pytest

from framework_plugins.monitor.recommendations import recommendation
from tests.support.curves import plan


@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        (
            "nan",
            [],
            "Lower trainer.learning_rate from 0.0002 to between 2e-05 and 0.0001, and train in bf16 rather than",
        ),
        ("nan", ["trainer.max_grad_norm=50"], "0.0001, set trainer.max_grad_norm=1, and train in bf16"),
        ("spike", [], "Look at the rows of this step; if it happens again, lower trainer.learning_rate from 0.0002"),
        ("oscillation", [], "if they are not harder, lower trainer.learning_rate from 0.0002 to between"),
        ("oscillation", [], "or raise trainer.gradient_accumulation_steps from 4 to 8 or more"),
        ("rising_loss", [], "The learning rate is too high: lower"),
        (
            "plateau",
            [],
            "Raise trainer.learning_rate from 0.0002 to between 0.0004 and 0.002, or adapter.r from 16 to 32",
        ),
        ("plateau", ["adapter=full"], "Raise trainer.learning_rate from 0.0002 to between 0.0004 and 0.002"),
        (
            "plateau",
            ["trainer.learning_rate=0.1"],
            "may have damaged the weights: lower trainer.learning_rate from 0.1",
        ),
        ("harder_rows", [], "Compare the rows of these steps with earlier ones: if they are not harder, lower trainer"),
        ("rises_with_training", [], "The training loss rose too. The learning rate is too high: lower trainer"),
        ("validation_nan", [], "Check the validation rows for ones without a learned token"),
        (
            "falling_likelihood",
            ["method=dpo"],
            "method.loss_type=[sigmoid,sft], raise method.beta from 0.1 to 0.3, or lower",
        ),
        ("falling_likelihood", ["method=kto"], "Raise method.beta from 0.1 to 0.3, or lower trainer.learning_rate"),
        ("exploding_gradient", [], "or warm up for longer than trainer.warmup_steps=5"),
        ("rising_eval_loss", [], "fewer than 3 epochs, trainer.early_stopping_patience=2, or more rows"),
        (
            "rising_eval_loss",
            ["trainer.max_steps=9", "trainer.early_stopping_patience=1"],
            "lower trainer.max_steps, or",
        ),
    ],
)
def test_a_cure_names_settings(kind: str, words: list[str], told: str) -> None:
    assert told in recommendation(kind, plan(*words), 2)


def test_a_loss_that_is_not_a_number_in_the_first_step_is_the_models_own() -> None:
    told = recommendation("nan", plan(), 1)
    assert told.startswith("No weight has changed yet, so the model itself gives it")
    assert "learning_rate" not in told
