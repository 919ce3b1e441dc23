"""methods/reward_hacking.py: a reward that rises alone is named, and one that rises with other metrics is not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from framework import testing
from framework.api.records import Change, EvalResult, Outcome, Results, RewardRise, TrainResult
from framework_plugins.methods.reward_hacking import reward_hacking

BETTER = Change(0.2, 0.9, higher_is_better=True, outcome=Outcome.better)
SAME = Change(
    0.3, 0.28, higher_is_better=True, low=-0.1, high=0.04, outcome=Outcome.undecided, primary=True, margin=0.05
)
SMALL = replace(SAME, before=0.1, after=0.13, high=0.08)
"""A measure that rose a little, and may have risen by more than its margin."""
HIGH = replace(SAME, before=0.9, after=0.91)
"""A measure that cannot rise far, and surely did not."""
LITTLE = Change(0.47, 0.55, higher_is_better=True, outcome=Outcome.better, low=0.01, high=0.15)
BARELY = Change(
    0.0, 0.02, higher_is_better=True, low=-0.04, high=0.07, outcome=Outcome.undecided, primary=True, margin=0.05
)
"""A reward that rose by 1 to 15 points, and a measure that rose by at most 7."""
SLOW = Change(
    0.0, 0.08, higher_is_better=True, low=-0.01, high=0.16, outcome=Outcome.undecided, primary=True, margin=0.05
)
"""A measure that rose by less than a reward, and by more than its margin."""
FEW = Change(0.3, 0.4, pairs=20, higher_is_better=True, low=-0.5, high=0.75, outcome=Outcome.undecided, primary=True)
TOLD = (
    "is not known: json_valid rose from 20% to 90%; exact_match from 30% to 40% on 20 prompts, which may be chance or "
    "a rise"
)
UP = Change(0.3, 0.6, higher_is_better=True, outcome=Outcome.better, primary=True)
HACKED = (
    "the reward may be hacked: json_valid rose from 20% to 90%, and no held-out measure rose by more than its margin: "
    "exact_match from 30% to 28%"
)
CURVE = "the reward may be hacked: json_valid rose from 0.1 to 0.8 in training, and .* exact_match from 30% to 28%"
RISING = {"json_valid": RewardRise(0.1, 0.8, rose=True)}


@pytest.mark.parametrize(
    ("words", "changes", "curves", "said", "flagged"),
    [
        (("metric=[exact_match,json_valid]",), {"json_valid": BETTER, "exact_match": SAME}, {}, HACKED, True),
        (("metric=[exact_match,json_valid]",), {"json_valid": BETTER, "exact_match": FEW}, {}, TOLD, False),
        (
            ("metric=[exact_match,json_valid]",),
            {"json_valid": BETTER, "exact_match": SMALL},
            {},
            "may be chance or a rise",
            False,
        ),
        (
            ("metric=[exact_match,json_valid]",),
            {"json_valid": BETTER, "exact_match": HIGH},
            {},
            "may be chance or a rise",
            False,
        ),
        (
            ("metric=[exact_match,json_valid]",),
            {"json_valid": LITTLE, "exact_match": BARELY},
            {},
            "is not known",
            False,
        ),
        (("metric=[exact_match,json_valid]",), {"json_valid": BETTER, "exact_match": UP}, {}, "", False),
        (("metric=[exact_match,json_valid]",), {"json_valid": SAME, "exact_match": SAME}, {}, "", False),
        (("metric=[json_valid]",), {"json_valid": BETTER}, {}, "is not known: every metric is a reward", False),
        (("metric=[exact_match]",), {"exact_match": UP}, {}, "json_valid is not a metric of the run", False),
        (("metric=[exact_match]",), {"exact_match": SAME}, RISING, CURVE, True),
        (
            ("metric=[exact_match]",),
            {"exact_match": SLOW},
            RISING,
            "from 0% to 8%, which may be chance or a rise",
            False,
        ),
        (("metric=[exact_match]",), {"exact_match": UP}, RISING, "", False),
        (("metric=[exact_match]",), {"exact_match": SAME}, {"json_valid": RewardRise(0.1, 0.2, rose=False)}, "", False),
    ],
)
def test_only_a_reward_that_rises_alone_is_named(
    tmp_path: Path,
    words: tuple[str, ...],
    changes: dict[str, Change],
    curves: dict[str, RewardRise],
    said: str,
    *,
    flagged: bool,
) -> None:
    plan = testing.plan(["method=grpo", "reward=[json_valid]", *words], run_dir=tmp_path)
    trained = TrainResult(9, 1, 0, 0, 1, 1, 1, 1, 1, 0, "checkpoint", rewards=curves)
    found = [*reward_hacking(plan, Results(None, EvalResult({}, []), trained, changes))]
    assert [concern.flagged for concern in found] == ([flagged] if said else [])
    assert not said or re.search(said, found[0].text)
