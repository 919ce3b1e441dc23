"""rouge, bleu and chrf are those of their libraries, between 0 and 1 whatever the texts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from framework.api.protocols import Metric
from framework_plugins.evals.config import BleuConfig, BleuWords, ChrfConfig, RougeConfig, RougeKind, RougeWords
from framework_plugins.evals.metrics.bleu import Bleu
from framework_plugins.evals.metrics.chrf import Chrf
from framework_plugins.evals.metrics.rouge import AnyScript, Rouge

TEXTS = st.text(max_size=40) | st.lists(
    st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "日本"]), max_size=9
).map(" ".join)
BLEU = [Bleu(BleuConfig(tokenize=words)) for words in BleuWords]


@given(one=TEXTS, two=TEXTS)
def test_they_are_the_numbers_of_the_libraries(one: str, two: str) -> None:
    for kind in RougeKind:
        library = RougeScorer([kind.value]).score(two, one)[kind.value].fmeasure
        assert Rouge(RougeConfig(kind)).score(one, two) == library
    bleu = sacrebleu.sentence_bleu(one, [two], use_effective_order=True).score
    assert Bleu(BleuConfig()).score(one, two) == pytest.approx(bleu / 100)
    assert Chrf(ChrfConfig()).score(one, two) == pytest.approx(sacrebleu.sentence_chrf(one, [two]).score / 100)
    plus = sacrebleu.sentence_chrf(one, [two], word_order=2).score
    assert Chrf(ChrfConfig(word_order=2)).score(one, two) == pytest.approx(plus / 100)


@given(one=TEXTS, two=TEXTS)
def test_they_lie_between_0_and_1(one: str, two: str) -> None:
    unicode = Rouge(RougeConfig(words=RougeWords.unicode))
    metrics: list[Metric] = [*BLEU, Chrf(ChrfConfig()), Rouge(RougeConfig()), unicode]
    for metric in metrics:
        assert 0 <= metric.score(one, two) <= 1
        assert 0 <= metric.score(one, one) <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat's 2nd mat_1", ["the", "cat", "s", "2nd", "mat", "1"]),
        ("Größe Ñandú", ["größe", "ñandú"]),
        ("日本の首都", ["日", "本", "の", "首", "都"]),
        ("Лима, Перу", ["лима", "перу"]),
        ("🎉 …", []),
    ],
)
def test_words_are_found_in_every_script(text: str, words: Sequence[str]) -> None:
    assert AnyScript().tokenize(text) == words


def test_the_settings_reach_the_libraries() -> None:
    assert Rouge(RougeConfig(stemmer=True)).score("cats running", "cat runs") == 1
    assert Rouge(RougeConfig()).score("cats running", "cat runs") == 0
    assert Bleu(BleuConfig(ignore_case=True)).score("LIMA", "lima") == pytest.approx(1)
    assert Chrf(ChrfConfig(ignore_case=True)).score("LIMA", "lima") == pytest.approx(1)
    assert Bleu(BleuConfig(tokenize=BleuWords.char)).score("Lima", "Lime") > Bleu(BleuConfig()).score("Lima", "Lime")
