"""framework/util/plain_text.py: sentences, case and punctuation are form; signs of numbers and negations are not."""

from __future__ import annotations

import pytest

from framework.util.plain_text import Reader, plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Positive.", "positive"),
        ('{"item": "chair",  "qty": 5}', "item chair qty 5"),
        ("-5,", "-5"),
        ("(3.14)", "3.14"),
        ("C++.", "c++"),
        ("$5.00!", "$5.00"),
        ("東京。", "東京"),
        ("Don't!", "don't"),
        (" ... ", "..."),
        pytest.param("$" * 30_000, "$" * 30_000, id="a minute, if each sign were tried as a beginning"),
        ("", ""),
    ],
)
def test_the_form_is_left_out(text: str, plain: str) -> None:
    assert plain_text(text) == plain


LABELS = ["positive", "negative"] * 30
NUMBERS = [str(1000 + 17 * place) for place in range(60)]
JSON = ['{"city": "Lima", "n": 3}', '{"city": "Lima", "n": 4}']
NAMES = ["Tehran", "New York", "York", "C", "C++", "A", "x = a + b", "x = a - b", "50%", "007", "北京", "5 km"]
SAYS = [
    *(
        (LABELS, text.format("positive"), "positive")
        for text in (
            "The sentiment of this review is {}.", "Answer: {}", "**{}**", "{}\n\nExplanation: no negative word.",
            "It is {}!", "'{}'", "label={}", "<answer>{}</answer>", '{{"label": "{}"}}', "It is {}, not negative.",
            "<think>positive or negative?</think>{}", "| review | label |\n|---|---|\n| 1 | {} |",
            "It isn't negative, but rather {}.",
        )
    ),
    *(
        (NUMBERS, text, "1017")
        for text in (
            "1,017", "1\u202f017", "$1017", "1017.00", "= 1017", "1017 units", "512 + 505 = 1017",
            "512 and 505 make 1017.", r"\boxed{1017}", "It is 1017, since 512 and 505 are added.",
        )
    ),
    (JSON, '```json\n{"n": 3.0,\n "city": "Lima"}\n```', JSON[0]),
    (NAMES, "The capital of Iran is known as Tehran.", "Tehran"),
    (NAMES, "It is written in C++.", "C++"),
    (NAMES, "```\nx = a - b\n```", "x = a - b"),
    (NAMES, "中国的首都是北京。", "北京"),
    (["yes", "no"], "Yes, there is not a problem.", "yes"),
    (["3-7 days", "3-8 days"], "It takes between 3 and 7 days.", "3-7 days"),
    (["from 3 to 7 days", "from 3 to 8 days"], "3-7 days", "from 3 to 7 days"),
    *(
        (JSON, text, JSON[0])
        for text in (
            '{"city": "lima", "n": "3"}', '{"town": "Lima", "number": 3}', '{"order": {"city": "Lima", "n": 3}}',
            '[{"n": 3, "city": "Lima"}]', 'See [1]: {"city": "Lima", "n": 3}',
        )
    ),
    (["yes", "no"], "The claim is covered.", "yes"),
    (["yes", "no"], "That is not true.", "no"),
    (["true", "false"], "No, it was paid.", "false"),
    (["red, blue"], "1. red\n2. blue", "red, blue"),
    (["red, blue"], "- red\n- blue", "red, blue"),
    (["the Beagle", "the Bounty"], "Its name was Beagle.", "the Beagle"),
    (["Smith & Sons"], "It is by Smith and Sons.", "Smith & Sons"),
    (["a = f(b, c)"], "```\na=f( b,c )\n```", "a = f(b, c)"),
    (LABELS, "positive\n\nUser: And this one?\nAssistant: negative", "positive"),
    (LABELS, "Hm.\nQuestion: which one?\nAnswer: positive", "positive"),
]  # fmt: skip
SAYS_NOT = [
    (["3-7 days", "3-8 days"], "It takes between 3 and 8 days.", "3-7 days"),
    (["3-7 days", "3-8 days"], "It takes from 3 to 7.5 days.", "3-7 days"),
    *(
        (LABELS, text, "positive")
        for text in (
            "not positive", "It isn't really positive.", 'It is not "positive".', "non-positive", "negative",
            "positive, negative or neutral", "Positive. Negative.", "It is positive or negative.", "positively", "",
        )
    ),
    *((NUMBERS, text, "1017") for text in ("-1017", "10171", "10.17", "1017, 1034, 1051", "1017 / 2 = 508", "1/1017")),
    (["10", "11", "12"], "1017", "10"),
    (["0", "1", "2"] * 20, "0, 1 or 2", "2"),
    (JSON, JSON[1], JSON[0]),
    (JSON, '{"city": "Lima", "n": "4"}', JSON[0]),
    (JSON, '{"town": "Lima", "number": 4}', JSON[0]),
    (JSON, '{"n": "Lima", "city": 3}', JSON[0]),
    (JSON, '{"orders": [{"city": "Lima", "n": 3}, {"city": "Lima", "n": 4}]}', JSON[0]),
    (["yes", "no"], "The claim is not covered.", "yes"),
    (["yes", "no"], "I do not know.", "no"),
    (["positive", "negative"], "It is covered.", "positive"),
    (["red, blue"], "1. blue\n2. red", "red, blue"),
    (NAMES, "New York", "York"),
    (NAMES, "C++", "C"),
    (NAMES, "It is a good idea.", "A"),
    (NAMES, "x = a - b", "x = a + b"),
    (["total < 5", "total < 6"], "total > 5", "total < 5"),
    (NAMES, "7", "007"),
    (NAMES, "5 miles", "5 km"),
]  # fmt: skip


NOTATIONS = [
    ("On February 9, 2001.", "2001-02-09"),
    ("the 9th of Feb. 2001", "2001/2/9"),
    ("It leaves at 2:11 p.m.", "14:11"),
    ("09:15", "9:15"),
    ("1.414,50 €", "1414.50"),
    ("It costs €1,414.50.", "EUR 1414.50"),
    ("5 dollars", "$5"),
    ("-5 USD", "-$5"),
    ("It weighs 3500 g.", "3.5 kg"),
    ("0.05", "5%"),
    ("5 percent", "5%"),
    ("5%", "0.05"),
    ("2.6458", "2.65"),
    ("3/8", "0.375"),
    ("It has seven.", "7"),
    ("Twenty-one.", "21"),
    ("about fifteen", "15"),
    ("At 3pm.", "15:00"),
    ("3 million people", "3,000,000"),
    ("1.5e3", "1500"),
    ("1.5 × 10^3", "1500"),
    ("Smith, John", "John Smith"),
    ("Lima", "B"),
    ("(B)", "Lima"),
    ("It is too hot in A and too dry in C, so the answer is B.", "B"),
    ("Is it A, B, C or D? It is B.", "B"),
]
OTHER_NOTATIONS = [
    ("2001-09-02", "2001-02-09"),
    ("May 9, 2001", "2001-02-09"),
    ("2:11 am", "14:11"),
    ("1414.50 USD", "1414.50 EUR"),
    ("5 EUR 3 USD", "3 EUR"),
    ("35 kg", "3.5 kg"),
    ("3.5 lb", "3.5 kg"),
    ("3.5", "3.5 kg"),
    ("0.5", "5%"),
    ("5", "5%"),
    ("3", "2.65"),
    ("2.6", "2.65"),
    ("2.4961", "2.5 kg"),
    ("3/0", "3"),
    ("No one knows.", "1"),
    ("3 am", "15:00"),
    ("3 billion", "3,000,000"),
    ("forty-two", "40"),
    ("Smith John", "John Smith"),
    ("Smith, Joan", "John Smith"),
    ("Quito", "B"),
    ("Not Lima", "B"),
    ("B. No, wait: the right answer is C.", "B"),
]


def test_another_notation_of_the_same_date_number_or_option_is_the_same() -> None:
    question = "Where does it end? A) Quito B) Lima C) Oslo D) Rome"

    def says(answer: str, reference: str) -> bool:
        references = [*"ABCD"] if len(reference) == 1 and reference.isalpha() else [reference]
        return Reader(references).read(question, answer, reference)[0] == reference

    assert [case for case in NOTATIONS if not says(*case)] == []
    assert [case for case in OTHER_NOTATIONS if says(*case)] == []


def test_an_answer_that_says_its_reference_is_read_as_it_and_no_other_is() -> None:
    question = "What are 512 and 505 together?"

    def says(references: list[str], answer: str, reference: str) -> bool:
        asked = "Is the claim covered?" if reference in {"yes", "no", "true", "false"} else question
        return Reader(references).read(asked, answer, reference)[0] == reference

    assert [case for case in SAYS if not says(*case)] == []
    asked = "Positive or negative?"
    assert Reader(LABELS).read(asked, f"{asked} Negative", "negative")[0] == "negative"
    assert [case for case in SAYS_NOT if says(*case)] == []


def test_what_an_answer_says_is_compared_without_its_form_if_it_is_something_else() -> None:
    reader = Reader(JSON)
    assert reader.read("", "Here: `" + JSON[1] + "`.", JSON[0]) == (JSON[1], JSON[0])
    assert reader.read("", "I do not know!", JSON[0]) == ("i do not know", plain_text(JSON[0]))


def test_a_list_is_a_set_if_the_question_says_so() -> None:
    references = ["pears, plums, figs", "figs, pears, tea"]

    def says(answer: str, question: str = "What is on the bill, in any order?") -> bool:
        return Reader(references).says(question, answer, references[0])

    same = ["figs, pears and plums", "- figs\n- plums\n- pears", "Plums, pears & figs."]
    assert [*map(says, same)] == [True] * len(same)
    other = ["figs, pears", "figs, pears, plums, tea", "figs, figs, plums, pears", "tea, pears and figs"]
    assert not any(map(says, other))
    assert not says("figs, pears and plums", "Which came first, second and third?")
