"""`format=auto`: rows as they are published have one format, and the error for none or several says why."""

import json
from typing import Any

import pytest

from framework import FrameworkError
from framework.api.records import Message, ToolCall
from framework.api.schema import FormatConfig
from framework_plugins.formats.config import UnpairedConfig
from framework_plugins.formats.formats import Auto, Unpaired

CONFIG = FormatConfig()
ASKED, ANSWERED = {"role": "user", "content": "say"}, {"role": "assistant", "content": "it"}
WRONG = {"role": "assistant", "content": "no"}
TALK = [{"from": "human", "value": "say"}, {"from": "gpt", "value": "it"}]

Fields = dict[str, Any]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("alpaca", {"instruction": "say", "input": "", "output": "it", "text": "Below is an instruction…"}),
        ("alpaca", {"instruction": "say", "output": "it", "messages": None, "chosen": None, "prompt": None}),
        ("chatml", {"prompt": "say", "prompt_id": "1", "messages": [ASKED, ANSWERED]}),
        ("chatml", {"conversation_id": "1", "model": "x", "conversation": [ASKED, ANSWERED], "language": "English"}),
        ("chatml", {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}]}),
        ("sharegpt", {"id": "1", "conversations": TALK, "source": "x", "category": None, "views": 3}),
        ("sharegpt", {"conversations": TALK, "text": "human: say"}),
        ("preference", {"prompt": "say", "chosen": "it", "rejected": "no"}),
        (
            "preference",
            {
                "prompt": "say",
                "prompt_id": "1",
                "chosen": [ASKED, ANSWERED],
                "rejected": [ASKED, WRONG],
                "messages": [ASKED, ANSWERED],
                "score_chosen": 8.0,
            },
        ),
        ("preference", {"conversations": TALK[:1], "chosen": TALK[1], "rejected": {"from": "gpt", "value": "no"}}),
        ("preference", {"instruction": "say", "input": "", "chosen": "it", "rejected": "no"}),
        ("preference", {"system": "", "question": "say", "chosen": "it", "rejected": "no"}),
        ("preference", {"input": "say", "chosen": "it", "rejected": "no", "generations": ["it", "no"]}),
        ("chatml", {"messages": [{"role": "human", "content": "say"}, {"role": "ai", "content": "it"}]}),
        ("prompt_completion", {"prompt": "say", "completion": "it", "meta": {}}),
        ("unpaired", {"prompt": "say", "completion": "it", "label": True}),
        ("text", {"text": "say it", "url": "x", "timestamp": "2026"}),
        ("text", {"text": ""}),
        ("text", {"text": "say it", "label": None, "answer": None}),
    ],
)
def test_rows_as_they_are_published_have_one_format(kind: str, fields: Fields) -> None:
    auto = Auto(CONFIG)
    assert auto.fitting(fields) == [kind]
    assert auto.example(fields).format == kind


CODE = "not the text of an answer: make turns of the row with a @formatter in a file of yours, plugins=[./FILE.py], "
OPTIONS = (
    "write the question and the answer as text, such as {prompt: …, completion: …}, or set "
    "format=alpaca|chatml|decide|preference|prompt_completion|sharegpt|text"
)
SKIPPED = "data.on_bad_row=skip leaves such rows out"
BESIDE = "write the answer beside it, or let method=grpo draw answers"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"quest": "?", "reply": "!"},
            'no format fits a row with the fields quest, reply: type "format.columns={instruction: quest, output: rep',
        ),
        (
            {"quest": "?", "rep": "!"},
            ": if 'quest' asks and 'rep' answers, type \"format.columns={instruction: quest, o",
        ),
        ({"a": "?", "b": "!", "c": "."}, ' type "format.columns={instruction: a, output: b}", among 3 texts: a, b, c'),
        ({"words": "?"}, ": only 'words' has text: \"format.columns={text: words}\" learns it as plain text"),
        ({"reply": "!"}, ": 'reply' answers, and no field asks: write the question beside it"),
        ({"a": 1}, f"no format fits a row with the fields a: {OPTIONS}"),
        ({}, f"no format fits a row with the fields (none): {OPTIONS}"),
        (
            {"messages": []},
            "no format fits a row with the fields messages (format chatml needs a list of turns in 'messages', found "
            f"an empty list): {SKIPPED}",
        ),
        ({"conversations": []}, "(format chatml needs a list of turns in 'conversations', found an empty list): dat"),
        (
            {"messages": [{"role": "user"}]},
            "(format chatml (turn 1 of 'messages') needs the field 'content'; the turn has role): '",
        ),
        (
            {"conversations": [{"from": "gpt"}]},
            "(format sharegpt (turn 1 of 'conversations') needs the field 'value'; the turn has from): ",
        ),
        (
            {"instruction": "a", "reply": "b"},
            "fields instruction, reply (format alpaca needs the field 'output'): ",
        ),
        (
            {"instruction": "a", "output": None},
            f"needs text in 'output', found null): 'instruction' asks, and no field answers: {BESIDE}",
        ),
        (
            {"prompt": "a"},
            f"(format prompt_completion needs the field 'completion'): 'prompt' asks, and no field answers: {BESIDE}",
        ),
        ({"text": 3}, f"(format text needs text in 'text', found a number): {SKIPPED}"),
        (
            {"text": "good", "label": 1},
            f"no format fits a row with the fields text, label: 'label' is a number, {CODE}",
        ),
        ({"question": "?", "answers": {"start": [1]}}, f": 'answers' is an object, {CODE}"),
        ({"question": "?", "passage": "p", "answer": True}, f": 'answer' is true, {CODE}"),
        ({"question": "?", "opa": "a", "opb": "b", "cop": 1, "exp": "e"}, f": 'cop' is a number, {CODE}"),
        (
            {"system": "s", "chat": "USER: say\n\n\nASSISTANT: it"},
            ": 'chat' is a whole dialogue as text: make turns of",
        ),
        (
            {"title": "t", "mapping": {"a": {"message": None}}},
            ": 'mapping' is a tree of messages, as ChatGPT exports it: ",
        ),
        (
            {"prompt": {"text": "say", "replies": []}},
            ": 'prompt' is a tree of messages, as OpenAssistant has it: write",
        ),
        (
            {"instruction": "a", "output": "b", "prompt": "c", "completion": "d"},
            "several formats fit (alpaca, prompt_completion) a row with the fields instruction, output, prompt, "
            "completion: set format=alpaca|prompt_completion",
        ),
        ({"messages": [ASKED, ANSWERED], "conversations": TALK}, "several formats fit (chatml, sharegpt) a row"),
        ({"instruction": "a", "output": "b", "messages": [ASKED, ANSWERED]}, "several formats fit (alpaca, chatml)"),
    ],
)
def test_a_row_that_fits_none_or_several_formats_is_refused_with_the_reason(fields: Fields, text: str) -> None:
    auto = Auto(CONFIG)
    assert not auto.matches(fields)
    with pytest.raises(FrameworkError) as caught:
        auto.example(fields)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_turn_that_is_wrong_further_on_is_reported_by_its_format() -> None:
    with pytest.raises(
        FrameworkError, match=r"^format chatml \(turn 3 of 'messages'\) needs the field 'role'; the turn"
    ):
        Auto(CONFIG).example({"messages": [ASKED, ANSWERED, TALK[0]]})


@pytest.mark.parametrize(
    ("fields", "override"),
    [
        (
            {"problem": "?", "solution": "!", "answer": "!"},
            'type "format.columns={instruction: problem, output: answer}" or '
            '"format.columns={instruction: problem, output: solution}"',
        ),
        ({"question": "?", "options": ["a", "b"], "answer": "a"}, '"format.columns={instruction: question, output: '),
        ({"Question": "?", "Choices": "a", "Answer": "a"}, '"format.columns={instruction: Question, output: Answer}"'),
        ({"inputs": "?", "targets": "!"}, 'type "format.columns={instruction: inputs, output: targets}"'),
        ({"chosen_text": "?", "rejected_text": "!"}, '"format.columns={chosen: chosen_text, rejected: rejected_text}"'),
        ({"content": "words"}, 'type "format.columns={text: content}"'),
        (
            {'What\'s "it"?': "?", "The answer": "!"},
            """type 'format.columns={instruction: '"'"'What\\'"'"'s "it"?'"'"', o""",
        ),
        (
            {"question": "?", "answer": 4},
            """or learn it as it is, "format.columns={instruction: question, output: '{answ""",
        ),
        ({"conversations": ["?", "!"]}, "'conversations' does not say who speaks: write its turns as {role: user, con"),
    ],
)
def test_a_row_that_could_be_read_in_two_ways_is_refused_with_the_override_to_type(
    fields: Fields, override: str
) -> None:
    with pytest.raises(FrameworkError) as caught:
        Auto(CONFIG).example(fields)
    assert override in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"messages": [ASKED, ANSWERED], "images": ["a.jpg"]},
            "has 'images', which no model reads here: format=chatml ",
        ),
        ({"conversations": TALK, "audio": "a.wav"}, "has 'audio', which no model reads here: format=sharegpt learns"),
        (
            {"text": "say", "parent_id": None, "role": "prompter"},
            "one message in 'text' and 'parent_id' beside it: wri",
        ),
        (
            {"text": "<|im_start|>user\nsay<|im_end|>"},
            "a chat template rendered ('<|im_start|>' in 'text'): write its ",
        ),
        ({"text": "<s>[INST] say [/INST] it</s>"}, "rendered ('[INST]' in 'text')"),
        ({"text": "<｜User｜>say<｜Assistant｜>it"}, "rendered ('<｜User｜>' in 'text')"),
        ({"text": "### Human: say\n### Assistant: it"}, "rendered ('### Human:' in 'text')"),
    ],
)
def test_a_row_that_would_be_misread_is_refused_and_its_format_by_name_takes_it(fields: Fields, text: str) -> None:
    auto = Auto(CONFIG)
    with pytest.raises(FrameworkError) as caught:
        auto.example(fields)
    assert text in str(caught.value)
    (kind,) = auto.fitting(fields)
    assert f"format={kind} " in str(caught.value)
    assert auto.formats[kind].example(fields).format == kind


@pytest.mark.parametrize("text", ["a list [1] and <b>", "### Instruction: alone", "Human: it is", "if a < b | c > d:"])
def test_text_that_no_template_rendered_is_plain_text(text: str) -> None:
    assert Auto(CONFIG).example({"text": text}).text == text


def test_a_question_with_a_context_becomes_one_turn() -> None:
    row = {
        "instruction": "Who?",
        "context": "Ann ran.",
        "response": "Ann",
        "category": "qa",
        "system_prompt": "Be brief",
    }
    turns = Auto(CONFIG).example(row).messages
    assert [turn.content for turn in turns] == ["Be brief", "Who?\n\nAnn ran.", "Ann"]


@pytest.mark.parametrize("below", [True, False])
def test_messages_of_langchain_are_read(*, below: bool) -> None:
    said = [("system", "Be brief"), ("human", "say"), ("ai", "it")]
    turns = [
        {"type": kind, **({"data": {"content": text, "type": kind}} if below else {"content": text})}
        for kind, text in said
    ]
    assert Auto(CONFIG).example({"messages": turns}).messages == (
        Message("system", "Be brief"), Message("user", "say"), Message("assistant", "it")
    )  # fmt: skip


def test_the_parameters_of_xlam_become_a_json_schema() -> None:
    parameters = {"x": {"type": "List[int]", "description": "d"}, "n": {"type": "str, optional", "default": "a"}}
    tools = json.dumps([{"name": "f", "description": "d", "parameters": parameters}])
    row = {"query": "say", "answers": json.dumps([{"name": "f", "arguments": {"x": [1]}}]), "tools": tools}
    example = Auto(CONFIG).example(row)
    assert example.messages[-1].tool_calls == (ToolCall("f", {"x": [1]}),)
    assert example.tools[0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"x": {"description": "d", "type": "array"}, "n": {"default": "a", "type": "string"}},
        "required": ["x"],
    }


@pytest.mark.parametrize("part", [{"inlineData": {"data": "x"}}, {"functionCall": {"name": "f"}}, "words", None])
def test_a_part_of_gemini_that_is_no_text_is_refused(part: object) -> None:
    row = {"contents": [{"role": "user", "parts": [part]}, {"role": "model", "parts": [{"text": "it"}]}]}
    with pytest.raises(FrameworkError, match=r"^needs parts with text in Gemini's 'contents', found "):
        Auto(CONFIG).example(row)


LABELLED = [
    {"instruction": "say", "output": "it"},
    {"messages": [ASKED, ANSWERED]},
    {"conversations": TALK},
    {"prompt": "say", "completion": "it"},
    {"question": "say", "answer": "it"},
    {"prompt": "say", "response": "it"},
    {"query": "say", "answers": [{"name": "f", "arguments": {}}], "tools": [{"name": "f"}]},
    {"contents": [{"role": "user", "parts": [{"text": "say"}]}, {"role": "model", "parts": [{"text": "it"}]}]},
    {"turns": TALK},
]


@pytest.mark.parametrize("name", ["label", "kto_tag", "desirable", "thumbs_up"])
@pytest.mark.parametrize("row", LABELLED)
def test_a_label_becomes_a_fact_in_every_spelling_and_with_every_format(row: Fields, name: str) -> None:
    auto, plain = Auto(CONFIG), Auto(CONFIG).example(row)
    for empty in (None, "", " "):
        assert auto.example({**row, name: empty}) == plain
    for wanted, labels in SPELLINGS.items():
        for label in labels:
            found = auto.example({**row, name: label})
            assert found.facts == {"desirable": wanted}
            assert (found.format, found.messages[-1]) == ("unpaired", plain.messages[-1])
            assert not any(turn.learned for turn in found.messages[:-1] if turn.role == "assistant")
    for other in (2, -1, 0.5, "geography", [1], float("nan")):
        with pytest.raises(FrameworkError, match=rf"has .* in '{name}', which does not say .*columns={{{name}: null}}"):
            auto.example({**row, name: other})


SPELLINGS = {
    1.0: (True, 1, 1.0, "1", "true", "TRUE", "Desirable", "good", "yes", "thumbs_up", "Thumbs up", "👍"),
    0.0: (False, "False", "false ", 0, 0.0, "0", "0.0", "undesirable", "Bad", "rejected", "no", "thumbs-down", "👎"),
}


def test_the_settings_that_a_refusal_of_a_label_shows_read_the_row() -> None:
    row = {"prompt": "say", "completion": "it", "label": 2}
    with pytest.raises(
        FrameworkError, match=r'with "format.wanted=\[\'2\'\]" or "format.unwanted=\[\'2\'\]", or'
    ) as caught:
        Auto(CONFIG).example(row)
    assert "\n" not in str(caught.value)
    formatter = Unpaired(UnpairedConfig(wanted=["2", "Very Good"], unwanted=["1"]))
    assert [formatter.example({**row, "label": label}).facts["desirable"] for label in (2, "very good", 1)] == [1, 1, 0]
    with pytest.raises(FrameworkError, match="format unpaired has true in 'label', which does not say"):
        formatter.example({**row, "label": True})
    with pytest.raises(
        FrameworkError, match=r"two labels that disagree, 'label' is 1 and 'kto_tag' is \"no\": leave one"
    ):
        Auto(CONFIG).example({**row, "label": 1, "kto_tag": "no"})


def test_of_an_answer_with_a_label_only_the_last_turn_is_learned() -> None:
    row = {"messages": [ASKED, ANSWERED, ASKED, ANSWERED], "label": 1}
    assert [turn.learned for turn in Auto(CONFIG).example(row).messages] == [True, False, True, True]
