"""Near-duplicates: who belongs together, who does not, and in what time and memory."""

from __future__ import annotations

import errno
import itertools
import random
import resource
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.util import minhash, text_features

WORDS = [
    "amber",
    "birch",
    "copper",
    "delta",
    "ember",
    "fjord",
    "garnet",
    "harbour",
    "island",
    "juniper",
    "kelp",
    "lagoon",
]
TEXTS = st.lists(st.text(max_size=30), max_size=25)
SIMILAR = st.lists(st.lists(st.sampled_from(WORDS[:6]), min_size=1, max_size=9).map(" ".join), max_size=30)


def drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same texts each time


def labels(texts: Sequence[str], batch: int = 7, **settings: Any) -> list[int]:
    batches = [texts[start : start + batch] for start in range(0, len(texts), batch)]
    return [int(label) for label in minhash.group(lambda: iter(batches), len(texts), **settings)]


def groups(texts: Sequence[str], **settings: Any) -> list[list[str]]:
    """Return the texts of each group of more than one."""
    found: dict[int, list[str]] = {}
    for text, label in zip(texts, labels(texts, **settings), strict=True):
        found.setdefault(label, []).append(text)
    return [group for group in found.values() if len(group) > 1]


def jaccard(one: str, two: str) -> float:
    made = text_features.features([one, two])
    return float(text_features.similarities(made, np.array([0]), np.array([1]))[0])


@given(TEXTS | SIMILAR)
def test_a_group_is_numbered_by_its_first_text(texts: list[str]) -> None:
    found = labels(texts)
    assert len(found) == len(texts)
    assert all(label <= place for place, label in enumerate(found))
    assert all(found[label] == label for label in found)


@given(TEXTS | SIMILAR)
def test_equal_texts_are_together(texts: list[str]) -> None:
    found = labels([*texts, *texts])
    assert found[: len(texts)] == found[len(texts) :]


@given(SIMILAR, st.randoms(use_true_random=False))
def test_the_order_of_the_texts_does_not_count(texts: list[str], chance: random.Random) -> None:
    order = list(range(len(texts)))
    chance.shuffle(order)
    straight, mixed = labels(texts), labels([texts[place] for place in order])
    together = {(one, two) for one in order for two in order if straight[one] == straight[two]}
    again = {(order[one], order[two]) for one in order for two in order if mixed[one] == mixed[two]}
    assert together == again


@given(TEXTS, st.integers(1, 9))
def test_the_size_of_the_batches_does_not_count(texts: list[str], batch: int) -> None:
    assert labels(texts, batch) == labels(texts, 1000)


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)
)
def test_texts_without_a_word_in_common_are_apart(one: list[str], two: list[str]) -> None:
    other = [f"{word}x" for word in two]
    assert labels([" ".join(one), " ".join(other)]) == [0, 1]


def test_case_punctuation_and_white_space_do_not_count() -> None:
    assert groups(
        ["What is the capital of France?", "what is  the CAPITAL of\nFrance", "¿What is the capital of France"]
    )


@pytest.mark.parametrize("length", [12, 15, 20, 40])
def test_a_text_with_one_word_changed_is_found(length: int) -> None:
    chance = drawn(length)
    originals = [[f"w{chance.randrange(10_000)}" for _ in range(length)] for _ in range(300)]
    changed = [list(words) for words in originals]
    for words in changed:
        words[chance.randrange(length)] = "changed"
    found = labels([" ".join(words) for words in (*originals, *changed)], 100)
    assert sum(found[place] == found[place + 300] for place in range(300)) >= 297


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("Do you like cats?", "Do you like dogs?"),
        ("Translate to German: the dog sleeps", "Translate to German: the cat eats"),
        ("What is 12 times 4?", "What is 13 times 4?"),
        ("我喜欢猫", "他讨厌狗"),
        ("🙂", "🙃"),
        ("", "a"),
    ],
)
def test_short_questions_that_differ_are_apart(one: str, two: str) -> None:
    assert not groups([one, two])


def test_texts_without_words_are_compared_as_they_are() -> None:
    texts = ["", "  ", "🙂🙂", "🙂🙂", "!!!", "???", "\x00"]
    found = labels(texts)
    assert found[2] == found[3]
    assert found[0] == found[1]
    assert len({found[0], found[2], found[4], found[5]}) == 4


def test_chinese_and_japanese_letters_count_as_words() -> None:
    text = "人工智能是研究如何使计算机去做过去只有人才能做的智能工作"
    assert groups([text, text.replace("研究", "探讨"), "今天天气很好我们去公园散步吧"]) == [
        [text, text.replace("研究", "探讨")]
    ]
    assert groups(["東京は日本の首都であり世界最大の都市の一つです", "東京は日本の首都であり世界最大の都市の一つだ"])


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_ascii_and_other_texts_are_taken_apart_alike(text: str) -> None:
    plain = text.encode("ascii", "ignore").decode()
    beside = text_features.features([plain, f"{plain} é"]).hashes  # the second goes the slow way
    alone = text_features.features([plain])
    if text_features.WORD.findall(plain.casefold()):
        assert set(alone.hashes.tolist()) <= set(beside.tolist())
        assert jaccard(plain, f"{plain} é") >= alone.sizes[0] / (alone.sizes[0] + 2)


def test_what_most_texts_share_does_not_count() -> None:
    instruction = (
        "Turn the order below into JSON with exactly these keys: customer, item, quantity, city. Write nothing else, "
        "no code fence, no comment; give numbers as numbers and leave out whatever was not said by the customer."
    )
    asked = [f"{instruction} {name} orders {number} {thing}" for number, (name, thing) in enumerate(_orders())]
    common = text_features.common_features(lambda: iter([asked]), len(asked))
    assert groups(asked)  # without that, the instruction makes all of them similar
    assert not groups(asked, common=common)
    assert groups([*asked, asked[3].upper()], common=common) == [[asked[3], asked[3].upper()]]


def _orders() -> list[tuple[str, str]]:
    return [(name.title(), f"{first} {second}s") for name in WORDS for first, second in itertools.pairwise(WORDS)]


def test_a_text_of_common_words_only_keeps_them() -> None:
    common = text_features.features(["say hello"]).hashes
    assert text_features.features(["say hello", "say hello twice"], common).sizes.tolist() == [3, 2]


def test_nothing_is_common_to_no_texts() -> None:
    assert len(text_features.common_features(lambda: iter([]), 0)) == 0
    assert labels([]) == []


def test_the_share_in_common_is_counted_exactly() -> None:
    assert jaccard("a b c d", "a b c d") == 1
    assert jaccard("a b", "c d") == 0
    assert jaccard("a b c", "a b d") == pytest.approx(3 / 7)  # a, b, "a b" of a, b, c, d, "a b", "b c", "b d"
    assert jaccard("a a a", "a") == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Wh\u0435r\u0435 d\u043e\u0435s it go", "where does it go"),
        ("\uff2b\uff41da\u200bnhol", "kadanhol"),
        ("W h e r e  d o e s  it  g o  n o w", "Where  does  it  g o  n o w"),
        ("\u0413\u0434\u0435 3 \u03bcm", "\u0433\u0434\u0435 3 \u03bcm"),
        ("a, b or c", "a, b or c"),
    ],
)
def test_a_text_is_compared_as_a_person_reads_it(text: str, read: str) -> None:
    assert text_features.as_read(text) == read


def test_similar_texts_are_judged_the_same_however_many_others_there_are(tmp_path: Path) -> None:
    chance = drawn(3)
    filler = [" ".join(chance.choices(WORDS, k=14)) + f" {chance.randrange(10**9)}" for _ in range(3000)]
    pair = ["one two three four five six seven eight nine ten eleven twelve", "one two three four five six seven eight"]
    assert groups([*pair, *filler], folder=tmp_path) == groups(filler)
    assert not list(tmp_path.iterdir()), "files are left behind"


def test_one_huge_text_costs_little_memory_and_is_still_recognised() -> None:
    chance = drawn(1)
    huge = " ".join(f"word{chance.randrange(100_000)}" for _ in range(1_000_000))
    assert len(huge) > 9_000_000
    tracemalloc.start()
    found = labels([huge, f"{huge} end", "short"], 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [0, 0, 2]
    assert peak < 50_000_000


def test_thousands_of_equal_texts_are_one_group() -> None:
    assert set(labels(["the same text again and again"] * 5000, 1000)) == {0}


def test_a_text_does_not_join_those_that_only_share_its_template() -> None:
    template = "My name is {} and I live in {}, where I work as a {} at the {}."
    chance = drawn(5)
    texts = [template.format(*(f"{chance.choice(WORDS)}{chance.randrange(99)}" for _ in range(4))) for _ in range(500)]
    assert not groups(texts)


def test_what_any_text_has_is_not_what_all_of_them_share() -> None:
    chance = drawn(7)
    texts = [f"{' '.join(f'w{chance.randrange(9999)}' for _ in range(9))} is the one" for _ in range(200)]
    assert len(text_features.common_features(lambda: iter([texts]), len(texts))) == 0
    longer = [f"Say whether this is true, and nothing else: {text}" for text in texts]
    assert len(text_features.common_features(lambda: iter([longer]), len(longer))) > 0


def test_a_disk_that_takes_no_more_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            labels(["one two three", "four five six"], folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert Path(caught.value.filename).is_relative_to(tmp_path)
