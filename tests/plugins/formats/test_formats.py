"""What means the same in two formats gives the same conversation, and misfits are reported with field and turn."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given

from framework import FrameworkError
from framework.api.records import Example, Message
from framework.api.schema import FormatConfig
from framework_plugins.formats.formats import Alpaca, Auto, ChatML, PromptCompletion, ShareGPT, Text
from framework_plugins.formats.formats.names import NEEDS, READS
from tests.support.writings import TEXT, Fields, conversations, learned_by, spoken, written

CONFIG = FormatConfig()


@given(conversations())
def test_one_conversation_gives_the_same_messages_in_every_format(messages: list[Message]) -> None:
    auto = Auto(CONFIG)
    for kind, fields in written(messages):
        read = json.loads(json.dumps(fields))
        example = auto.formats[kind].example(read)
        assert list(example.messages) == learned_by(kind, messages)
        assert (example.format, example.tools, example.rejected, example.text) == (kind, (), (), None)
        assert auto.recognise(read)[0] == kind
        assert auto.matches(read)
        assert auto.example(read) == example


_TALKS = {f"conversation_{n}": [{"role": "user", "content": "say"}, {"role": "assistant", "content": n}] for n in "ab"}
PAIRS: list[Fields] = [
    {"prompt": "say", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 0},
    {"context": "say", "response1": "a", "response2": "b", "overall_preference": 3},
    {"history": "say", "human_ref_A": "a", "human_ref_B": "b", "labels": 0},
    {**_TALKS, "winner": "model_a"},
    {"input": {"messages": _TALKS["conversation_a"][:1]}, "preferred_output": "a", "non_preferred_output": "b"},
    {"prompt": "say", "responses": [{"text": "a", "rank": 1}, {"text": "b", "rank": 2}]},
]


class Watched(dict[str, Any]):
    """A row that notes which of its fields are asked for by name."""

    def __init__(self, fields: Mapping[str, Any], asked: set[str]) -> None:
        super().__init__(fields)
        self.asked = asked

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


def test_the_fields_that_a_format_is_said_to_read_are_those_it_reads() -> None:
    asked: dict[str, set[str]] = {name: set() for name in READS}
    formats = Auto(CONFIG).formats
    messages = [Message("user", "say"), Message("assistant", "it")]
    answers = {"chosen": "it", "rejected": "no"}
    rows: list[tuple[str, Fields]] = [*written(messages), ("text", {"text": "say it"})]
    rows += [("preference", {**answers, "prompt": "say"}), ("preference", {**answers, "instruction": "say"})]
    rows += [("preference", {**answers, "conversations": spoken(messages[:1])})]
    rows += [("preference", {**answers, "conversation": spoken(messages[:1])})]
    rows += [("preference", {**answers, name: "say"}) for name in ("question", "query", "input")]
    rows += [("preference", fields) for fields in PAIRS]
    for kind, fields in rows:
        formats[kind].example(Watched(fields, asked[kind]))
    asked["unpaired"] = {*READS["unpaired"]}  # it hands the row to others without its label
    assert asked == {kind: set(names) for kind, names in READS.items()}
    assert {name for name, groups in NEEDS.items() for group in groups if not set(group) <= set(READS[name])} == set()


@given(instruction=TEXT, text=TEXT.filter(lambda text: not text.isspace()), output=TEXT)
def test_an_alpaca_input_follows_the_instruction_after_an_empty_line(instruction: str, text: str, output: str) -> None:
    example = Alpaca(CONFIG).example({"instruction": instruction, "input": text, "output": output})
    assert example.messages == (Message("user", f"{instruction}\n\n{text}"), Message("assistant", output))


@pytest.mark.parametrize("blank", ["", " ", "\n\t", None])
def test_a_blank_alpaca_input_adds_nothing(blank: str | None) -> None:
    example = Alpaca(CONFIG).example({"instruction": "say", "input": blank, "output": "it"})
    assert example.messages[0] == Message("user", "say")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("bard", "assistant"), ("bing", "assistant"), ("chatgpt", "assistant"), ("model", "assistant"),
        ("assistant", "assistant"), ("gpt", "assistant"), ("human", "user"), ("user", "user"), ("system", "system"),
        ("observation", "tool"), ("tool", "tool"), ("function_response", "tool"), ("tool_response", "tool"),
    ],
)  # fmt: skip
def test_sharegpt_roles_of_the_field_are_translated(name: str, role: str) -> None:
    example = ShareGPT(CONFIG).example({"conversations": [{"from": name, "value": "hi"}]})
    assert example.messages == (Message(role, "hi"),)


@pytest.mark.parametrize(
    ("name", "role"), [("developer", "system"), ("function", "tool"), ("tool", "tool"), ("user", "user")]
)
def test_openai_roles_are_translated(name: str, role: str) -> None:
    example = ChatML(CONFIG).example({"messages": [{"role": name, "content": "hi"}]})
    assert example.messages == (Message(role, "hi"),)


@pytest.mark.parametrize(
    ("formatter", "turn", "name"),
    [
        (ShareGPT, {"from": "system", "value": "turn"}, "conversations"),
        (ChatML, {"role": "developer", "content": "turn"}, "messages"),
        (PromptCompletion, {"role": "system", "content": "turn"}, "prompt"),
    ],
)
def test_a_system_turn_wins_over_a_system_field(formatter: type[Any], turn: Fields, name: str) -> None:
    example = formatter(CONFIG).example({name: [turn], "system": "field", "completion": "it"})
    assert example.messages[0] == Message("system", "turn")
    assert [message.role for message in example.messages].count("system") == 1


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_what_the_assistant_thought_is_kept_under_each_of_its_names(name: str) -> None:
    turn = {"role": "assistant", "content": "it", name: "Hm."}
    (message,) = ChatML(CONFIG).example({"messages": [turn]}).messages
    assert message == Message("assistant", "it", reasoning_content="Hm.")


def test_parts_of_text_are_joined_as_they_are() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "\nb", "image_url": None}]
    example = ChatML(CONFIG).example({"messages": [{"role": "user", "content": parts}]})
    assert example.messages == (Message("user", "a \nb"),)


def test_plain_text_has_no_turns() -> None:
    assert Text(CONFIG).example({"text": " a\n"}) == Example((), "text", text=" a\n")


@pytest.mark.parametrize(
    ("formatter", "fields", "text"),
    [
        (Alpaca, {"instruction": "a"}, "format alpaca needs the field 'output'; the row has instruction"),
        (Alpaca, {}, "format alpaca needs the field 'instruction'; the row has no fields"),
        (
            Alpaca,
            {"instruction": "a", "input": ["b"], "output": "c"},
            "format alpaca needs text in 'input', found a list",
        ),
        (
            Alpaca,
            {"instruction": "a", "output": "b", "system": 0},
            "format alpaca needs text in 'system', found a number",
        ),
        (
            Alpaca,
            {"instruction": "a", "output": "b", "history": [["c", "d"], ["e", None]]},
            "format alpaca needs a list of [question, answer] in 'history'; number 2 is not one",
        ),
        (Alpaca, {"instruction": "a", "output": "b", "history": "c"}, "[question, answer] in 'history', found text"),
        (ChatML, {"text": "a"}, "format chatml needs the field 'messages'; the row has text"),
        (ChatML, {"messages": "a"}, "format chatml needs a list of turns in 'messages', found text"),
        (ChatML, {"messages": []}, "format chatml needs a list of turns in 'messages', found an empty list"),
        (ChatML, {"messages": None, "conversations": []}, "a list of turns in 'conversations', found an empty list"),
        (ChatML, {"messages": ["a"]}, "needs a list of turns in 'messages', found a list that begins with text"),
        (
            ChatML,
            {"messages": [{"role": "user", "content": "a"}, "b"]},
            "format chatml (turn 2 of 'messages') needs an object, found text",
        ),
        (
            ChatML,
            {"messages": [{"role": "user"}]},
            "format chatml (turn 1 of 'messages') needs the field 'content'; the turn has role",
        ),
        (
            ChatML,
            {"messages": [{"role": "Anna", "content": "a"}]},
            "has an unknown role 'Anna'. Valid: assistant, bot, developer, gpt, human, model, system, tool, user",
        ),
        (
            ChatML,
            {"messages": [{"role": "asistant", "content": "a"}]},
            "unknown role 'asistant'. Did you mean 'assistant'?",
        ),
        (
            ChatML,
            {"messages": [{"content": "a"}]},
            "(turn 1 of 'messages') needs the field 'role'; the turn has content",
        ),
        (
            ChatML,
            {"messages": [{"role": ["user"], "content": "a"}]},
            "needs a role in 'role', found a list; valid: system, ",
        ),
        (ChatML, {"messages": [{"role": "user", "content": None}]}, "needs text in 'content', found null"),
        (ChatML, {"messages": [{"role": "user", "content": []}]}, "needs text in 'content', found an empty list"),
        (
            ChatML,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "has a part of type 'image_url' in 'content', which no model reads here: only text is learned; ",
        ),
        (ChatML, {"messages": [{"role": "user", "content": ["a"]}]}, "in 'content', found text"),
        (
            ChatML,
            {"messages": [{"role": "assistant", "content": "a", "thinking": 1}]},
            "text in 'thinking', found a number",
        ),
        (ShareGPT, {"text": "a"}, "format sharegpt needs the field 'conversations'; the row has text"),
        (ShareGPT, {"conversations": {}}, "format sharegpt needs a list of turns in 'conversations', found an object"),
        (
            ShareGPT,
            {"conversations": [{"from": "human", "value": "a"}, {"from": "robot", "value": "a"}]},
            "format sharegpt (turn 2 of 'conversations') has an unknown role 'robot'. Did you mean 'bot'? Vali",
        ),
        (ShareGPT, {"conversations": [{"from": "gpt", "value": None}]}, "needs text in 'value', found null"),
        (
            PromptCompletion,
            {"prompt": "a"},
            "format prompt_completion needs the field 'completion'; the row has prompt",
        ),
        (
            PromptCompletion,
            {"prompt": [{"role": "robot", "content": "a"}], "completion": "b"},
            "format prompt_completion (turn 1 of 'prompt') has an unknown role 'robot'",
        ),
        (PromptCompletion, {"prompt": [], "completion": "b"}, "needs text in 'prompt', found an empty list"),
        (PromptCompletion, {"prompt": "a", "completion": "b", "label": 2}, "has 2 in 'label', which does not say"),
        (Text, {"content": "a"}, "format text needs the field 'text'; the row has content"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_the_field_and_the_format(
    formatter: type[Any], fields: Fields, text: str
) -> None:
    with pytest.raises(FrameworkError) as caught:
        formatter(CONFIG).example(fields)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"), (True, "true"), (0, "a number"), ([], "an empty list"), (["b"], "a list"), ({}, "an object"),
        (b"b", "a value of type bytes"),
    ],
)  # fmt: skip
def test_what_stands_in_place_of_text_is_named_as_json_names_it(value: object, kind: str) -> None:
    with pytest.raises(FrameworkError, match=f"^format alpaca needs text in 'output', found {kind}$"):
        Alpaca(CONFIG).example({"instruction": "a", "output": value})


@pytest.mark.parametrize("turn", [{"weight": 1}, {"weight": None}, {"train": True}, {"weight": 1.0, "train": None}])
def test_a_turn_with_a_weight_is_learned_like_the_others(turn: Fields) -> None:
    said = {"from": "gpt", "value": "it", **turn}
    example = ShareGPT(CONFIG).example({"conversations": [{"from": "human", "value": "say", "weight": 0}, said]})
    assert example.messages == (Message("user", "say"), Message("assistant", "it"))


@pytest.mark.parametrize("mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}])
def test_a_turn_that_is_marked_so_is_context_and_not_learned(mark: Fields) -> None:
    spoken_turns = [
        {"from": "human", "value": "say"},
        {"from": "gpt", "value": "no", **mark},
        {"from": "human", "value": "say"},
        {"from": "gpt", "value": "it"},
    ]
    rows = {"role": "from", "content": "value"}
    names = {"human": "user", "gpt": "assistant"}
    by_role = [{name: names.get(turn[old], turn[old]) for name, old in rows.items()} for turn in spoken_turns]
    by_role[1] |= mark
    expected = (
        Message("user", "say"), Message("assistant", "no", learned=False), Message("user", "say"),
        Message("assistant", "it"),
    )  # fmt: skip
    assert ShareGPT(CONFIG).example({"conversations": spoken_turns}).messages == expected
    assert ChatML(CONFIG).example({"messages": by_role}).messages == expected


TURN = {"role": "assistant", "content": "it"}
SPOKEN = {"from": "gpt", "value": "it"}


@pytest.mark.parametrize("name", ["weight", "train", "loss", "loss_mask"])
@pytest.mark.parametrize(
    ("formatter", "turn", "key"), [(ChatML, TURN, "messages"), (ShareGPT, SPOKEN, "conversations")]
)
def test_a_turn_says_in_any_spelling_whether_it_is_learned(
    formatter: type[Any], turn: Fields, key: str, name: str
) -> None:
    def learned(value: object) -> bool:
        (message,) = formatter(CONFIG).example({key: [{**turn, name: value}]}).messages
        return bool(message.learned)

    assert all(learned(value) for value in (1, 1.0, True, "1", "True", None, ""))
    assert not any(learned(value) for value in (0, 0.0, False, "0", "0.0", " false"))
    for value in (0.5, "half", 2, [0]):
        with pytest.raises(
            FrameworkError, match=rf"\(turn 1 of '{key}'\) needs 1 .* or 0 .* in '{name}', found .*in part"
        ):
            learned(value)


def harmony(*turns: tuple[str, str | None]) -> tuple[Message, ...]:
    said = [{"role": "assistant", "content": text, "channel": channel} for text, channel in turns]
    return ChatML(CONFIG).example({"messages": [{"role": "user", "content": "say", "channel": None}, *said]}).messages


def test_a_turn_of_the_channel_analysis_is_the_thought_of_the_next() -> None:
    assert harmony(("Hm.", "analysis"), ("it", "final"))[1:] == (Message("assistant", "it", reasoning_content="Hm."),)
    assert harmony(("it", None))[1:] == (Message("assistant", "it"),)


@pytest.mark.parametrize(
    ("turns", "text"),
    [
        ([("Hm.", "analysis")], "(turn 2 of 'messages') is a thought (channel 'analysis'), and no answer follows"),
        (
            [("Hm.", "analysis"), ("So.", "analysis"), ("it", "final")],
            "(turn 3 of 'messages') is a thought (channel 'a",
        ),
        (
            [("I look.", "commentary"), ("it", "final")],
            "(turn 2 of 'messages') has the channel 'commentary', in which a t",
        ),
        ([("it", "finale")], "(turn 2 of 'messages') has an unknown channel 'finale'. Did you mean 'final'?"),
    ],
)
def test_a_channel_that_cannot_be_honoured_is_refused(turns: list[tuple[str, str]], text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        harmony(*turns)
    assert text in str(caught.value)
