"""framework/util/prompt_clusters.py: prompts that are not independent are found, and one template is not one prompt."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.prompt_kinds import dependent, independent
from framework.util.prompt_clusters import clusters, have_one_template, passages


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", dependent())
def test_prompts_that_are_not_independent_share_a_number(name: str, seed: int) -> None:
    kind = dependent(seed)[name]
    found = clusters(kind.questions, kind.references)
    assert found.tolist() == [kind.clusters.index(number) for number in kind.clusters]


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", independent())
def test_independent_prompts_of_one_template_stay_apart(name: str, seed: int) -> None:
    kind = independent(seed)[name]
    assert clusters(kind.questions, kind.references).tolist() == np.arange(len(kind.questions)).tolist()


def test_one_wording_of_the_same_answer_and_another_name_is_another_prompt() -> None:
    ways = ("Which country is {} in?", "{} is in which country?")
    asked = [way.format(town) for town in ("Lyon", "Paris") for way in ways]
    assert clusters([*asked, "And Oslo?"], ["France"] * 4 + ["Norway"]).tolist() == [0, 0, 2, 2, 4]


def test_another_number_is_no_typing_error() -> None:
    asked = [
        "Please add the number 12 to this list",
        "Please add the number 21 to this list",
        "Something else entirely",
    ]
    assert clusters(asked, [None] * 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("asked", [[], ["", ""], ["???", "!"], ["one"], ["one two", "one three"]])
def test_few_words_or_none_are_compared_too(asked: list[str]) -> None:
    assert len(clusters(asked, [None] * len(asked))) == len(asked)


def test_a_document_of_some_prompts_is_no_template_of_all() -> None:
    asked = {name: have_one_template(kind.questions) for name, kind in {**dependent(2), **independent(2)}.items()}
    assert not any(one for name, one in asked.items() if "document" in name and "instruction" not in name)
    assert all(
        asked[name] for name in ("dates", "sums", "persons of one form", "an instruction of 50 words, short inputs")
    )
    assert not asked["single prompts"]


def test_an_instruction_that_training_rows_share_makes_no_cluster_and_a_document_does() -> None:
    tasks = [" ".join(f"{verb}{n}" for n in range(40)) for verb in ("read", "name")]
    asked = [f"{tasks[n % 2]}: {('amber', 'birch', 'cedar', 'delta')[n // 2]} {n * 7919} {n * n}" for n in range(8)]
    assert len(set(clusters(asked, [None] * 8).tolist())) == 2
    trained = [f"{tasks[n % 2]}: ember {n * 104729}" for n in range(4)]
    assert clusters(asked, [None] * 8, passages(trained)).tolist() == [*range(8)]
    assert len(set(clusters(asked, [None] * 8, passages(trained[:2])).tolist())) == 2  # each in one row only
    assert clusters([tasks[0]] * 2, [None] * 2, passages(trained)).tolist() == [0, 0]  # nothing but the instruction
