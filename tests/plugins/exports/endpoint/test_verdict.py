"""A verdict needs few answers in a clear case, and is not made in an unclear one."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from framework_plugins.exports.endpoint.evidence import Observation
from framework_plugins.exports.endpoint.verdict import (
    DEFAULT_NOISE,
    ERROR,
    LEAST_NOISE,
    MOST_NOISE,
    Fault,
    Judgement,
    Served,
    export_noise,
)

TRAINED = Observation(
    trained=0.01, base=2.0, file=None, with_log_probs=True, extra_prompt_tokens=0, prompt_cause="", ran_on=False,
    stopped=True, sampled=0, uncertain=1.0,
)  # fmt: skip


def judged(*observations: Observation, has_file: bool = False, noise: float = 0.1) -> tuple[Judgement, int]:
    """Return the judgement, and after how many answers it was made."""
    judgement = Judgement(noise, has_file=has_file)
    for count, observation in enumerate(observations, start=1):
        judgement.add(observation)
        if judgement.served is not Served.unknown:
            return judgement, count
    return judgement, len(observations)


@pytest.mark.parametrize(
    ("observation", "served", "answers"),
    [
        (TRAINED, Served.trained, 5),
        (replace(TRAINED, trained=2.0, base=0.01), Served.base, 5),
        (replace(TRAINED, trained=2.0, base=3.0), Served.other, 3),
        (replace(TRAINED, trained=0.01, base=0.01), Served.unknown, 24),
        (replace(TRAINED, trained=0.0, base=0.6, with_log_probs=False), Served.trained, 5),
        (replace(TRAINED, trained=0.6, base=0.0, with_log_probs=False), Served.base, 5),
    ],
)
def test_a_clear_case_takes_few_answers(observation: Observation, served: Served, answers: int) -> None:
    judgement, count = judged(*[observation] * 24)
    assert (judgement.served, count) == (served, answers)


def test_answers_that_are_all_but_certain_do_not_rule_sampling_out() -> None:
    few, many = (judged(*[replace(TRAINED, uncertain=tokens)] * 24)[0] for tokens in (0.1, 1.0))
    assert (few.shows_sampling, many.shows_sampling) == (False, True)
    assert judged(replace(TRAINED, with_log_probs=False))[0].shows_sampling  # repeated questions show it


def test_the_file_tells_an_adapter_in_part_from_a_quantization() -> None:
    near = replace(TRAINED, file=0.0001)
    assert judged(*[near] * 24, has_file=True)[0].served is Served.trained
    half, _ = judged(*[replace(TRAINED, file=0.05)] * 24, has_file=True)
    assert half.served is Served.other
    assert half.is_file_missed


def test_a_change_that_drowns_in_noise_is_seldom_decided_and_hardly_ever_wrongly() -> None:
    random_numbers = random.Random(0)  # noqa: S311 - not for secrets
    wrong = 0
    for _ in range(400):
        errors = [random_numbers.gauss(0, 0.1) for _ in range(24)]
        answers = [replace(TRAINED, trained=abs(error), base=abs(0.1 + error)) for error in errors]
        wrong += judged(*answers)[0].served in {Served.base, Served.other}
    assert wrong / 400 <= 5 * ERROR


def test_faults_are_named_after_three_answers() -> None:
    lost = replace(TRAINED, extra_prompt_tokens=-21, prompt_cause="the system turn is lost")
    assert dict(judged(lost, lost)[0].faults()) == {Fault.template: "prompts have -21 tokens: the system turn is lost"}
    other = [replace(TRAINED, extra_prompt_tokens=extra) for extra in (-60, -62, -61)]
    assert dict(judged(*other)[0].faults()) == {
        Fault.template: "prompts have -62 to -60 tokens: another chat template writes them"
    }
    assert not dict(judged(TRAINED, TRAINED, TRAINED, lost)[0].faults())
    ran_on = replace(TRAINED, ran_on=True, stopped=False)
    assert [*dict(judged(ran_on, ran_on)[0].faults())] == []
    assert [*dict(judged(ran_on, ran_on, ran_on)[0].faults())] == [Fault.stop]
    assert [*dict(judged(replace(TRAINED, sampled=1), TRAINED)[0].faults())] == []
    assert [*dict(judged(*[replace(TRAINED, sampled=1)] * 2)[0].faults())] == [Fault.sampling]
    repeated = Judgement(0.1, repeats=[True, True, False])
    assert [fault for fault, _ in repeated.faults()] == [Fault.sampling]


def test_the_noise_is_that_of_the_exports() -> None:
    assert export_noise([]) == DEFAULT_NOISE
    assert export_noise([1e-9]) == LEAST_NOISE
    assert export_noise([1e-9, 0.01]) == pytest.approx(math.sqrt(0.02))
    assert export_noise([0.2]) == MOST_NOISE
