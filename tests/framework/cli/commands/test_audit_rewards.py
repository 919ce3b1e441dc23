"""framework/cli/commands/audit_rewards.py: rewards are audited on made answers and on the model's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.cli.commands import AuditRewardsCommandConfig
from framework.cli.commands.audit_rewards import AuditRewardsCommand

WORDS = ("model=echo", "trainer=echo", "data=local_file", "data.path=rows.jsonl", "data.validation_split=0")


@pytest.fixture(autouse=True)
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    testing.install()
    monkeypatch.chdir(tmp_path)
    lines = (json.dumps({"instruction": f"How much is {n} + 2?", "output": str(n + 2)}) for n in range(10, 18))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")


def audited(*words: str) -> int:
    return AuditRewardsCommand(AuditRewardsCommandConfig()).main([*WORDS, *words])


def test_an_honest_reward_is_shown_on_answers_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert audited("reward=[exact_match]", "--answers=2", "--prompts=3") == 0
    out = capsys.readouterr().out
    assert out.split()[:3] == ["reward", "weight", "has"]
    assert "highest 0: rows.jsonl:" in out
    assert "warning: reward_no_signal: for 3 of 3 prompts all answers of the model have the same reward" in out
    assert audited("reward=[exact_match]", "--answers=1", "--prompts=3") == 0
    assert "reward_no_signal" not in capsys.readouterr().out  # one answer is always the same as itself


def test_a_serious_finding_is_exit_code_1_and_made_answers_need_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert audited("reward=[stopped]", "--answers=0", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["rewards"] == []
    assert [(one["name"], one["severity"]) for one in told["findings"]] == [("reward_reference", "serious")]


def test_a_reward_may_read_a_field_of_its_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"Say {word}.", "word": word}) for word in ("ant", "bee", "cat")),
        encoding="utf-8",
    )
    (tmp_path / "words.py").write_text(
        "from framework import reward\n\n\n@reward\ndef said(completions, word, **kwargs):\n"
        "    return [float(text == right) for text, right in zip(completions, word, strict=True)]\n",
        encoding="utf-8",
    )
    assert audited("plugins=[./words.py]", "reward=[said]", "--answers=1", "--prompts=2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(line["reward"], line["known"]) for line in told["rewards"]] == [("said", 1.0)]
    assert [one["name"] for one in told["findings"]] == ["reward_constant"]


@pytest.mark.parametrize("option", ["--answers=-1", "--prompts=0"])
def test_numbers_that_ask_for_nothing_are_refused(option: str) -> None:
    with pytest.raises(FrameworkError, match=f"^{option} must be a number of at least"):
        audited("reward=[exact_match]", option)


def test_a_run_without_rewards_is_refused() -> None:
    with pytest.raises(FrameworkError, match="method=best_of_n learns from the model's own answers and needs"):
        audited()
