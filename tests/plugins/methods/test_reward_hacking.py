"""methods/reward_hacking.py: a reward that rises alone is named, and one that rises with other metrics is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from framework import testing
from framework.api.records import Change, EvalResult, Outcome, Results
from framework_plugins.methods.reward_hacking import reward_hacking

BETTER = Change(0.2, 0.9, higher_is_better=True, outcome=Outcome.better)
SAME = Change(0.3, 0.28, higher_is_better=True, outcome=Outcome.undecided, primary=True)
UP = Change(0.3, 0.6, higher_is_better=True, outcome=Outcome.better, primary=True)
HACKED = "the reward may be hacked: json_valid rose from 20% to 90% on held-out prompts, .* exact_match from 30% to 28%"


@pytest.mark.parametrize(
    ("words", "changes", "said", "flagged"),
    [
        (("metric=[exact_match,json_valid]",), {"json_valid": BETTER, "exact_match": SAME}, HACKED, True),
        (("metric=[exact_match,json_valid]",), {"json_valid": BETTER, "exact_match": UP}, "", False),
        (("metric=[exact_match,json_valid]",), {"json_valid": SAME, "exact_match": SAME}, "", False),
        (("metric=[json_valid]",), {"json_valid": BETTER}, "is not known: every metric is a reward", False),
        (("metric=[exact_match]",), {"exact_match": UP}, "json_valid is not a metric of the run", False),
    ],
)
def test_only_a_reward_that_rises_alone_is_named(
    tmp_path: Path, words: tuple[str, ...], changes: dict[str, Change], said: str, *, flagged: bool
) -> None:
    plan = testing.plan(["method=grpo", "reward=[json_valid]", *words], run_dir=tmp_path)
    found = [*reward_hacking(plan, Results(None, EvalResult({}, []), changes=changes))]
    assert [concern.flagged for concern in found] == ([flagged] if said else [])
    assert not said or re.search(said, found[0].text)
