"""hf/settings/checks.py: what a config.json tells before transformers is imported."""

from __future__ import annotations

from typing import Any

import pytest

from framework import FrameworkError
from framework.plan.make import check_model
from tests.plugins.hf.settings.test_memory_plan import plan


def test_a_family_that_transformers_does_not_know_is_refused_by_the_plan() -> None:
    model = {"model_type": "qwen9", "transformers_version": "7.1.0"}
    with pytest.raises(FrameworkError, match=r"^model .* does not know model_type=qwen9; transformers 7\.1\.0 wrote"):
        check_model(plan(), model)


@pytest.mark.parametrize(
    "model", [{}, {"model_type": "llama"}, {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}]
)
def test_a_known_family_and_own_code_are_left_alone(model: dict[str, Any]) -> None:
    check_model(plan(), model)
