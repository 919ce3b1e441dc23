"""The metric on sentences that are counted by hand, and as an option of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

import framework_textstats.plugin
from framework import FrameworkError, testing
from framework.api.program import load_config
from framework.testing import MetricSuite
from framework_textstats.config import Aim, Language, Measure, ReadabilityConfig
from framework_textstats.readability import Readability

EASY = "The cat sat on the mat. The dog ran to the man."  # 12 words, 2 sentences, 34 letters, no long word
HARD = "Notwithstanding considerable deliberation, the commission procrastinated."  # 6 words, 5 of them long
FLESCH = ["metric.readability.measure=flesch_reading_ease"]


class TestLix(MetricSuite):
    option = "readability"
    answers = ((EASY, None, 6.0), (HARD, None, 6 + 100 * 5 / 6), ("", None, 0.0), (" …!", None, 0.0))


class TestGermanFlesch(MetricSuite):
    option = "readability"
    overrides = (*FLESCH, "metric.readability.language=de", "metric.readability.empty=-1")
    answers = (("Das Haus ist rot.", None, 180 - 4 - 58.5), ("", None, -1.0))


def test_the_plugin_has_no_problems() -> None:
    assert testing.check_plugin(framework_textstats.plugin) == []


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Measure.words_per_sentence, 6.0),
        (Measure.rix, 0.0),
        (Measure.automated_readability_index, 4.71 * 36 / 12 + 0.5 * 6 - 21.43),  # full stops are characters
        (Measure.coleman_liau_index, 0.058 * 100 * 34 / 12 - 0.296 * 100 * 2 / 12 - 15.8),
    ],
)
def test_a_measure_is_the_formula(measure: Measure, expected: float) -> None:
    assert Readability(ReadabilityConfig(measure=measure)).score(EASY, None) == pytest.approx(expected)


@pytest.mark.parametrize("measure", Measure)
@pytest.mark.parametrize("aim", Aim)
def test_the_better_answer_is_the_one_that_was_aimed_at(measure: Measure, aim: Aim) -> None:
    metric = Readability(ReadabilityConfig(measure=measure, language=Language.nl, aim=aim))
    easier_scores_higher = metric.score(EASY, None) > metric.score(HARD, None)
    assert metric.higher_is_better is (easier_scores_higher is (aim is Aim.easier))


def test_two_metrics_in_one_process_keep_their_languages() -> None:
    dutch, german = (
        Readability(ReadabilityConfig(measure=Measure.flesch_reading_ease, language=language))
        for language in (Language.nl, Language.de)
    )
    assert dutch.score("Das Haus ist rot.", None) == pytest.approx(206.835 - 0.93 * 4 - 77)
    assert german.score("Das Haus ist rot.", None) == pytest.approx(180 - 4 - 58.5)


def test_english_syllables_without_their_dictionary_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    with pytest.raises(FrameworkError, match=r"python -m nltk\.downloader cmudict") as refusal:
        testing.plan(["metric=[readability]", *FLESCH], run_dir=tmp_path / "run")
    assert "\n" not in str(refusal.value)
    testing.plan(["metric=[readability]", *FLESCH, "metric.readability.language=fr"], run_dir=tmp_path / "run")


def test_english_syllables_are_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "corpora" / "cmudict"
    folder.mkdir(parents=True)
    words = {"the": "DH AH0", "house": "HH AW1 S", "is": "IH1 Z", "area": "EH1 R IY0 AH0"}
    lines = (f"{word.upper()} 1 {sounds}\n" for word, sounds in words.items())
    (folder / "cmudict").write_text("".join(lines), encoding="utf-8")
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    plan = testing.plan(["metric=[readability]", *FLESCH], run_dir=tmp_path / "run")
    score = plan.metric["readability"].create().score("The house is the area.", None)
    assert score == pytest.approx(206.835 - 1.015 * 5 - 84.6 * 7 / 5)


def test_the_experiment_asks_for_the_data_alone() -> None:
    with pytest.raises(FrameworkError, match=r"data\.path"):
        load_config(["+experiment=plain_answers"])
    config = load_config(["+experiment=plain_answers", "data.path=rows.jsonl"])
    assert (config.name, config.objective, list(config.metric)) == ("plain_answers", "readability", ["readability"])
