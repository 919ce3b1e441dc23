"""framework/api/component.py: what a plain class gets, and what has to be a subclass."""

from __future__ import annotations

from typing import Any

import pytest

from framework import FrameworkError
from framework.api.component import complete
from framework.api.protocols import Exporter
from framework.run.pipeline import checked


class Plain:
    """An exporter that subclasses nothing."""

    after = ("adapter",)

    def export(self, model: Any, context: Any) -> list[Any]:
        del model, context
        return []


def test_a_plain_class_gets_the_defaults_that_it_lacks() -> None:
    exporter: Exporter = complete(Plain(), Exporter)
    assert (exporter.after, exporter.reusable) == (("adapter",), False)
    exporter.check(None, None)  # type: ignore[arg-type]


def test_a_class_that_cannot_be_changed_is_refused() -> None:
    with pytest.raises(FrameworkError, match=r"^a str has no 'after': subclass framework\.api\.Exporter$"):
        complete("text", Exporter)


def test_a_model_that_is_no_model_is_refused() -> None:
    model: Any = Plain()
    with pytest.raises(
        FrameworkError, match=r"^trainer=echo opened a Plain: let Plain subclass framework\.api\.Model$"
    ):
        checked(model, "echo")
