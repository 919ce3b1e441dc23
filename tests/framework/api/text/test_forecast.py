"""framework/api/text/forecast.py: what a run will need, in sentences."""

from dataclasses import replace

import pytest

from framework.api.records import Disk, FitStatus, Forecast, Memory, Speed, SuggestedChange, Traffic, Work
from framework.api.text import facts_of
from framework.api.text.forecast import roughly

GIB = 2**30
MEMORY = Memory(
    device="rtx4090", available=23 * GIB, fit_status=FitStatus.fits, tokens=4096, rows_known=True,
    parts={"linear layers": 3 * GIB, "adapter": 1}, phases={"loss": GIB, "forward": GIB // 2},
    allocated=4 * GIB, reserved=5 * GIB, low=4 * GIB, high=6 * GIB, least=3 * GIB,
)  # fmt: skip
WORK = Work(
    rows=1000, tokens=400_000, supervised_tokens=1, steps=375, epochs=3.0, flops=1.0, seconds_low=50, seconds_high=7200
)
PLAIN = Forecast(MEMORY, "", [], [], WORK, Disk(GIB, 70 * GIB, {}))


def test_what_fits_asks_for_no_attention() -> None:
    found = [(fact.name, fact.text, fact.amiss) for fact in facts_of(PLAIN)]
    assert found == [
        ("memory", "5.0 GiB, between 4.0 GiB and 6.0 GiB; rtx4090 has 23.0 GiB free: it fits", False),
        ("made up of", "linear layers 3.0 GiB; at most 1.0 GiB in a step (loss, 4,096 tokens)", False),
        (
            "work",
            "375 steps, 3 epochs of 1,000 rows and 400,000 tokens; the training takes 50 s to 2 h, "
            "judging by earlier runs on this machine",
            False,
        ),
        ("disk", "1.0 GiB to write, 70.0 GiB free", False),
    ]


def test_the_attention_of_a_gpu_is_one_line() -> None:
    facts = [*facts_of(replace(PLAIN, memory=replace(MEMORY, attention="sdpa, since")))]
    assert [fact.text for fact in facts if fact.name == "attention"] == ["sdpa, since"]


@pytest.mark.parametrize(
    ("traffic", "told"),
    [
        (Traffic(8, 1, 3 * GIB, 0), "8 shards; each process receives 3.0 GiB in a pass from other shards"),
        (Traffic(1, 4, 0, GIB // 2), "4 replicas; each process receives 0.50 GiB in a step from other replicas"),
        (
            Traffic(8, 2, 3 * GIB, GIB // 2),
            "2 replicas of 8 shards; each process receives 3.0 GiB in a pass from other shards and 0.50 GiB in a step "
            "from other replicas",
        ),
    ],
)
def test_a_group_is_told_with_what_its_processes_receive(traffic: Traffic, told: str) -> None:
    facts = {fact.name: fact.text for fact in facts_of(replace(PLAIN, traffic=traffic))}
    assert facts["group"] == told


def test_a_model_that_is_split_for_its_evaluation_is_so_in_the_plan() -> None:
    facts = {fact.name: fact.text for fact in facts_of(replace(PLAIN, memory=replace(MEMORY, evaluated_on=8)))}
    assert facts["evaluation"] == "the layers are split over 8 GPUs of one machine; tested on a CPU only"


def test_what_does_not_fit_comes_with_its_changes() -> None:
    memory = replace(MEMORY, fit_status=FitStatus.too_large, rows_known=False, longest=2048)
    changes = [
        SuggestedChange(["a=1", "b=2"], GIB, "nothing", FitStatus.tight),
        SuggestedChange(["c=3"], GIB // 2, "time", FitStatus.fits),
    ]
    facts = {
        fact.name: fact for fact in facts_of(replace(PLAIN, memory=memory, changes=changes, advice=["one", "two"]))
    }
    assert facts["memory"].text.endswith("for rows of 2,048 tokens; rtx4090 has 23.0 GiB free: it does not fit")
    assert (
        facts["would fit with"].text
        == "2 changes, added up in this order: it fits with all of them. plan.apply=true applies them"
    )
    assert facts["would fit with"].more == ("a=1 b=2: saves 1.0 GiB, costs nothing", "c=3: saves 0.50 GiB, costs time")
    assert (facts["advice"].text, facts["advice"].more) == ("2 suggestions", ("one", "two"))
    assert facts["memory"].amiss


def test_what_is_not_known_is_said_or_left_out() -> None:
    (fact,) = facts_of(Forecast(None, "nobody knows", [], [], None, None))
    assert fact.text == "not estimated: nobody knows"


def test_too_little_disk_is_amiss() -> None:
    (fact,) = [fact for fact in facts_of(Forecast(MEMORY, "", [], [], None, Disk(2, 1, {}))) if fact.name == "disk"]
    assert fact.amiss
    assert fact.text.endswith("that is not enough")


def test_published_speeds_are_named_and_a_price_is_worked_out() -> None:
    work = replace(
        WORK, seconds_low=6000, seconds_high=10_200, from_published=True, evaluation_seconds=600, price_per_hour=0.5
    )
    (fact,) = (each for each in facts_of(replace(PLAIN, work=work)) if each.name == "work")
    assert fact.text.endswith(
        "; the training takes about 1 h 40 min to 2 h 50 min, from published speeds; all answers take at most 10 min; "
        "at 0.5 an hour that costs 0.83 to 1.5"
    )
    unknown = replace(work, seconds_low=None, seconds_high=None)
    (fact,) = (each for each in facts_of(replace(PLAIN, work=unknown)) if each.name == "work")
    assert fact.text.endswith("400,000 tokens; all answers take at most 10 min")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12.4, "12 s"), (59.6, "1 min"), (150, "2 min"), (3599, "1 h"), (9100, "2 h 30 min"), (7300, "2 h"),
        (200_000, "56 h"),
    ],
)  # fmt: skip
def test_times_are_reported_as_people_say_them(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


def test_the_learning_rate_is_drawn_from_the_first_step_to_the_last() -> None:
    forecast = replace(PLAIN, work=replace(WORK, rates=[0.0, 2e-4, 1e-4]))
    (fact,) = (each for each in facts_of(forecast) if each.name == "learning rate")
    assert fact.text == "▁█▅ 0 in the first step, at most 0.0002, 0.0001 in the last"


@pytest.mark.parametrize(
    ("speed", "told"),
    [
        (
            Speed(812.0, 2477.0, 2048, estimated=False, from_published=True),
            "about 810 to 2,500 tokens a second, from published speeds: a thousand rows of 2,048 tokens take 14 min to "
            "42 min",
        ),
        (
            Speed(100.0, 200.0, 80, estimated=True, from_published=False),
            "about 100 to 200 tokens a second, judging by earlier runs on this machine: a thousand rows of about 80 "
            "tokens take 7 min to 13 min",
        ),
    ],
)
def test_the_speed_is_said_before_the_rows_are_known(speed: Speed, told: str) -> None:
    work = replace(WORK, estimated=True, from_published=True)
    facts = {fact.name: fact.text for fact in facts_of(replace(PLAIN, speed=speed, work=work))}
    assert facts["speed"] == told
    assert facts["work"] == (
        "about 375 steps, 3 epochs of about 1,000 rows of about 400 tokens; the training takes about 50 s to 2 h, from "
        "published speeds; estimated from the first rows, exact after stages=[data]"
    )
