"""SmolLM2 on the quickstart: its own learning rate is not flagged; ten times that is, as forgetting or as a style."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.api import records
from framework.api.records import Concern, Report
from tests.support.program import framework


@pytest.mark.slow
@pytest.mark.parametrize("option", ["forgetting", "short_forgetting"])
@pytest.mark.parametrize(("rate", "flagged"), [("5e-4", False), ("5e-3", True)])
def test_a_learning_rate_of_ten_times_the_quickstarts_is_flagged(
    tmp_path: Path, option: str, rate: str, *, flagged: bool
) -> None:
    words = "+experiment=quickstart", f"evaluator=[{option}]", f"trainer.learning_rate={rate}"
    concern, styles = forgetting(tmp_path, *words)
    print(f"{rate} {option}: {concern} {styles}")  # noqa: T201 - the figures are what this test is to show
    assert (concern.flagged or bool(styles)) is flagged
    assert ("data.mix" in concern.recommendation) is concern.flagged
    assert flagged or concern.harm < 0.5


def forgetting(folder: Path, *words: str) -> tuple[Concern, list[Concern]]:
    """Run the program and return what its report says of forgetting, and of the style of general answers."""
    done = framework(*words, "exporter=[]", f"run_dir={folder / 'run'}", cwd=folder)
    assert done.returncode == 0, done.stderr
    verdict = records.load(Report, folder / "run" / "report.json").verdict
    assert verdict is not None
    (concern,) = (concern for concern in verdict.concerns if concern.name == "forgetting")
    assert (verdict.forgot is True) is concern.flagged
    return concern, [one for one in verdict.concerns if one.name == "forgetting_style"]
