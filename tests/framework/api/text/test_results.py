"""The sentences that loggers show of the data."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api.records import Change, FormatRun
from framework.api.text.results import Fact, facts_of, number, visible
from framework_plugins.lib.sentences import readiness, shared_start
from tests.support.results import AMISS, EVEN, FIELDS, FITTING, PLAIN


def changed_facts(**changes: object) -> dict[str, Fact]:
    return {fact.name: fact for fact in facts_of(dataclasses.replace(EVEN, **changes))}  # type: ignore[arg-type]


def test_a_sentence_says_whether_to_train_or_what_to_fix() -> None:
    assert readiness(EVEN) == "Ready to train."
    fix = "Fix first: contradictions, rows whose loss mask is not proven. 1 warning to look at: duplicates."
    assert readiness(AMISS) == fix


def test_a_bound_that_is_nearly_0_has_no_minus_before_it() -> None:
    found = Change(before=0.65, after=1.0, higher_is_better=True, low=-0.002, high=0.638)
    assert found.difference("stopped") == "+0 to +64 points"


def test_data_with_which_all_is_well_ask_for_no_attention() -> None:
    assert [(fact.name, fact.text, fact.more) for fact in facts_of(EVEN)] == [
        ("rows", "270 to train, 30 held out, 30 prompts", ()),
        ("format", f"alpaca: 330 rows with the fields {FIELDS}", ()),
        ("tokens", "27,727, of which 8,519 (31%) are learned", ()),
        (
            "proof",
            "every row (330) begins with the prompt as inference renders it, every answer (340) ends with a stop token "
            "that is learned; on average, 31% of a row is learned",
            (),
        ),
        (
            "lengths",
            "half of the rows up to 103 tokens, 95% up to 108, 99% up to 111, the longest 112; padded, 5% of a "
            "batch is padding",
            (),
        ),
        ("limit", "trainer.max_seq_length=512 fits every row; 128 would too", ()),
    ]
    assert not any(fact.amiss for fact in facts_of(EVEN))


def test_everything_that_is_wrong_is_reported_with_examples() -> None:
    told = {fact.name: fact for fact in facts_of(AMISS)}
    assert told["rows"].text == "250 to train, 30 held out, 1 prompt; from the cache"
    assert told["format"].text == "alpaca: 121 rows, sharegpt: 20 rows"
    assert told["format"].more == (
        f"a.jsonl:1 … 120: alpaca, the fields {FIELDS}",
        "a.jsonl:121 … 140: sharegpt, the field conversations",
        f"a.jsonl:141: alpaca, the fields {FIELDS}",
    )
    assert told["mixed in"].text == "25 of owner/general (30 were requested), 10% of the training rows"
    assert told["bad rows"].text == "14 rows left out (data.on_bad_row=skip)"
    assert told["bad rows"].more == (*(f"a.jsonl:{line}: no field 'output'" for line in (2, 3, 4)), "and 11 more")
    assert told["proof"].text == "13 of 330 rows not proven (data.proof=warn)"
    assert told["proof"].more == ("a.jsonl:7: an answer is dropped (the same in 13 rows)",)
    assert told["too long"].text == (
        "7 rows longer than trainer.max_seq_length=512, 7 of them left out; 1,234 learned tokens are lost; "
        "2 validation rows too long as well"
    )
    assert told["too long"].more == ("trainer.max_seq_length=1536 would fit all rows",)
    assert [fact.name for fact in told.values() if fact.amiss] == [
        "format", "mixed in", "bad rows", "proof", "too long",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (["a, b", "a, b, c", "a, b"], "the fields a, b; some also c"),
        (["a", "a, c, d"], "the field a; some also c, d"),
        (["a", "b"], "no field in common; some also a, b"),
    ],
)
def test_fields_that_only_some_rows_of_a_format_have_are_named_once(fields: list[str], told: str) -> None:
    runs = [FormatRun("alpaca", f"a:{line}", f"a:{line}", 1, names) for line, names in enumerate(fields)]
    fact = changed_facts(format_runs=runs, formats={"alpaca": 30})["format"]
    assert (fact.text, fact.more, fact.amiss) == (f"alpaca: 30 rows with {told}", (), False)


def test_stretches_of_formats_beyond_the_first_are_counted() -> None:
    runs = [FormatRun(("alpaca", "text")[n % 2], f"a:{n}", f"a:{n}", 1, "a") for n in range(9)]
    fact = changed_facts(format_runs=runs, formats={"alpaca": 5, "text": 25})["format"]
    assert fact.more[0] == "a:0: alpaca, the field a"
    assert fact.more[6:] == ("and 24 more rows",)


def test_what_is_wrong_with_a_bad_row_is_cut() -> None:
    assert changed_facts(bad_rows=1, bad_examples=["a.jsonl:1: " + "long " * 50])["bad rows"].more == (
        ("a.jsonl:1: " + "long " * 50)[:120] + "…",
    )


def test_many_fields_are_cut() -> None:
    run = FormatRun("alpaca", "a:1", "a:9", 9, ", ".join(f"column_{n}" for n in range(50)))
    assert changed_facts(format_runs=[run], formats={"alpaca": 9})["format"].text.endswith("column_7…")


def test_plain_text_has_no_prompt_to_prove() -> None:
    proof = dataclasses.replace(PLAIN, lowest_share=1.0, mean_share=1.0, plain=330, turns=0)
    told = "every row (330) is plain text, learned from its first token to its last token"
    assert changed_facts(proof=proof)["proof"].text == told
    begun = dataclasses.replace(proof, lowest_share=0.889, mean_share=0.9)
    assert changed_facts(proof=begun)["proof"].text == told.replace("its first token", "the token after its BOS token")


def test_plain_text_beside_conversations_is_said_apart() -> None:
    proof = dataclasses.replace(PLAIN, plain=30)
    assert changed_facts(proof=proof)["proof"].text == (
        "every conversation (300) begins with the prompt as inference renders it, every answer (340) ends with a stop "
        "token that is learned; on average, 31% of a conversation is learned; 30 more rows are plain "
        "text, learned as a whole"
    )


def test_what_became_of_the_rows_is_said_in_a_line_each() -> None:
    told = changed_facts(
        unread_fields={"id": 20, "lang": 20, "score": 3, "a": 2, "b": 1},
        rejected_answers=1,
        cut_texts=2,
        cut_rows=1200,
        notes=["test.jsonl is not used", "nor is dev.jsonl"],
    )
    assert told["not read"].text == "id, lang in 20 rows; score in 3 rows; a in 2 rows; and 1 more group"
    assert (
        told["preference"].text
        == "the rejected answer of 1 row left out: method=sft learns the chosen ones, method=dpo both"
    )
    assert told["cut"].text == "2 plain texts into 1,200 rows (data.cut)"
    assert (told["files"].text, told["files"].more) == ("test.jsonl is not used", ("nor is dev.jsonl",))
    assert [fact.name for fact in told.values() if fact.amiss] == ["files"]


def test_blocks_of_plain_texts_are_told_with_how_full_they_are() -> None:
    told = changed_facts(train_rows=10, block_rows=40, block_tokens=100, tokens=990, cut_texts=1, cut_rows=3)
    assert told["rows"].text.startswith("10 blocks to train, ")
    assert told["cut"].text == "1 plain text into 3 rows"
    assert told["blocks"].text == "40 plain texts in 10 blocks of 100 tokens, 99.0% full"
    alone = changed_facts(proof=dataclasses.replace(PLAIN, plain=PLAIN.rows))
    assert alone["plain text"].text.startswith("each text is a row of its own; method=pretrain lays several into one")


def test_a_share_that_all_rows_have_is_reported_once() -> None:
    proof = dataclasses.replace(PLAIN, lowest_share=0.314, mean_share=0.314)
    assert changed_facts(proof=proof)["proof"].text.endswith("a stop token that is learned; 31% of each row is learned")


@pytest.mark.parametrize(
    ("lengths", "overflow", "name", "more"),
    [
        ({"max_seq_length": 255}, 0, None, ()),
        ({"max_seq_length": 256}, 0, "limit", ()),
        ({"max_seq_length": 100}, 5, "too long", ("trainer.max_seq_length=128 would fit all rows",)),
        (
            {"max_seq_length": 100, "longest": 9000},
            1,
            "too long",
            ("trainer.max_seq_length=128 would fit 99% of the rows",),
        ),
        ({"max_seq_length": 512, "longest": 9000}, 1, "too long", ()),
    ],
)
def test_a_length_is_recommended_only_where_it_gains_rows(
    lengths: dict[str, int], overflow: int, name: str | None, more: tuple[str, ...]
) -> None:
    told = changed_facts(lengths=dataclasses.replace(FITTING, **lengths), overflow_rows=overflow)  # type: ignore[arg-type]
    assert {"limit", "too long"} & told.keys() == ({name} if name else set())
    assert name is None or told[name].more == more


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\nb", "a⏎\nb"),
        ("a\r\nb\r", "a\\r⏎\nb\\r"),
        ("\x1b[31m\x00\x9b", "\\x1b[31m\\x00\\x9b"),
        ("\ta", "⇥a"),
        ("abc\u202edef\u2066", "abc\\u202edef\\u2066"),
        ("👩\u200d🚀 naïve", "👩\u200d🚀 naïve"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, seen: str) -> None:
    assert visible(text) == seen
    assert visible(text, "⏎") == seen.replace("⏎\n", "⏎")


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    assert all(character.isprintable() or not character.isascii() for character in visible(text, "⏎"))


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        (["a\nb"], ""),
        (["a\nb", "a\nc"], "a\n"),
        (["a\nb\nx", "a\nb\ny", "a\nc"], "a\n"),
        (["ab", "ac"], ""),
        (["a\n", "a\nb"], "a\n"),
        (["system: a\nuser: b", "system: a\nuser: c"], "system: a\nuser: "),
        (["system: a\nuser: b\nassistant: x\nuser: y", "system: a\nuser: c"], "system: a\n"),
        (["user: b", "user: c"], ""),
        ([], ""),
    ],
)
def test_only_whole_lines_are_shared(prompts: list[str], shared: str) -> None:
    assert "".join(prompts[:1])[: shared_start(prompts)] == shared


@pytest.mark.parametrize(
    ("value", "name", "shown"),
    [(None, "x", "-"), (0.5, "x", "50%"), (0.5, "eval_loss", "0.5000"), (12.5, "x", "12.5000"), (-0.5, "x", "-0.5000")],
)
def test_a_rate_is_a_percentage_and_a_loss_is_none(value: float | None, name: str, shown: str) -> None:
    assert number(value, name) == shown
