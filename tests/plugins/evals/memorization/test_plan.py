"""The memorization evaluator in a whole run: its settings are checked, its concern is in the verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.run import pipeline

Rows = list[dict[str, str]]
ASKED = ("evaluator=[memorization]", "metric=[]", "exporter=[]")


def test_settings_that_leave_nothing_to_ask_are_refused(tmp_path: Path) -> None:
    words = [*ASKED, "evaluator.memorization.min_tokens=9", "evaluator.memorization.max_new_tokens=8"]
    with pytest.raises(FrameworkError, match=r"evaluator.memorization.min_tokens=9 is more than max_new_tokens=8"):
        testing.plan(words, run_dir=tmp_path / "run")


def test_a_model_that_learns_by_heart_is_flagged_in_the_verdict(
    tmp_path: Path, write_rows: Callable[[Rows], Path]
) -> None:
    file = write_rows([{"instruction": f"say {n}", "input": "", "output": f"it is {n} or so"} for n in range(60)])
    report = pipeline.run(testing.plan([*ASKED, "data=local_file", f"data.path={file}"], run_dir=tmp_path / "run"))
    assert report is not None
    assert report.verdict is not None
    assert report.verdict.copied
    (concern,) = report.verdict.concerns
    assert concern.text.startswith(
        "54 of 54 training rows are answered word for word, and none of 6 held-out rows, which were not trained on; "
        "by the base none and none"
    )
    assert f"most of all {file.name}:" in concern.text
    assert report.metrics["verbatim_excess"].after == pytest.approx(1)
