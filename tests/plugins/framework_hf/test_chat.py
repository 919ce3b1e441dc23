"""plugins/framework_hf/chat.py: what is learned is exactly what inference will generate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from framework.errors import FrameworkError
from framework.records import Example, Message, TokenRow
from framework_hf import chat
from tests.support.tiny import tiny_chatml, tiny_llama

MakeTokenizer = Callable[[], PreTrainedTokenizerBase]
ASK = Message("user", "How many?")
TELL = Message("assistant", "Two, I think.")


@pytest.fixture(scope="module", params=[tiny_llama, tiny_chatml], ids=["llama3", "chatml"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder: Path = request.param(tmp_path_factory.mktemp("model"))
    return AutoTokenizer.from_pretrained(folder)


def encode(tokenizer: PreTrainedTokenizerBase, *messages: Message) -> TokenRow:
    example = Example(messages, "chatml", "rows.jsonl:7")
    return chat.encode(tokenizer, [example], frozenset([tokenizer.eos_token_id]))[0]


def learned(tokenizer: PreTrainedTokenizerBase, row: TokenRow) -> list[str]:
    """Return the runs of supervised tokens as text."""
    runs: list[list[int]] = [[]]
    for label in row.labels:
        if label == chat.IGNORE:
            runs.append([])
        else:
            runs[-1].append(label)
    return [str(tokenizer.decode(run)) for run in runs if run]


def test_only_the_answer_and_its_stop_token_are_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encode(tokenizer, ASK, TELL)
    assert learned(tokenizer, row) == [f"Two, I think.{tokenizer.eos_token}"]
    assert len(row.labels) == len(row.input_ids)
    assert row.where == "rows.jsonl:7"


def test_every_assistants_turn_of_a_dialogue_is_learned_with_its_stop_token(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encode(
        tokenizer, Message("system", "Be brief."), ASK, TELL, Message("user", "Sure?"), Message("assistant", "No")
    )
    assert learned(tokenizer, row) == [f"Two, I think.{tokenizer.eos_token}", f"No{tokenizer.eos_token}"]


def test_the_prompt_of_inference_is_the_beginning_of_the_training_ids(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encode(tokenizer, ASK, TELL)
    prompt = tokenizer(chat.render(tokenizer, [ASK], prompt=True), add_special_tokens=False)["input_ids"]
    assert row.input_ids[: len(prompt)] == prompt
    assert row.labels[: len(prompt)] == [chat.IGNORE] * len(prompt)


def test_the_training_ids_hold_one_bos_where_the_template_writes_one(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encode(tokenizer, ASK, TELL)
    bos = tokenizer.bos_token_id
    assert row.input_ids[0] == bos
    assert row.input_ids[1] != bos


def test_many_rows_come_out_as_they_do_one_by_one(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = [Example((ASK, Message("assistant", f"{n} of them")), "chatml", f"r:{n}") for n in range(5)]
    stop = frozenset([tokenizer.eos_token_id])
    together = chat.encode(tokenizer, examples, stop)
    assert together == [chat.encode(tokenizer, [example], stop)[0] for example in examples]


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
         "{% if add_generation_prompt %}assistant: {% endif %}", "twice at the start"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
         "{% if add_generation_prompt %}assistant: {% endif %}", "without a stop token"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content | upper }}{{ eos_token }}{% endfor %}"
         "{% if add_generation_prompt %}assistant: {% endif %}", "drops or changes"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
         "{% if add_generation_prompt %}### Answer: {% endif %}", "not the beginning of the training text"),
        ("{{ raise_exception('no such roles here') }}", "no such roles here"),
    ],
    ids=["two-bos", "no-stop", "changed", "other-prompt", "refused"],
)  # fmt: skip
def test_a_template_that_cannot_be_masked_exactly_is_refused_with_the_row(
    tmp_path: Path, template: str, problem: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama(tmp_path))
    tokenizer.chat_template = template
    with pytest.raises(FrameworkError, match=f"rows.jsonl:7: .*{problem}"):
        encode(tokenizer, ASK, TELL)


def test_a_stop_token_written_inside_an_answer_does_not_end_what_is_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    answer = f"Write {tokenizer.eos_token} to stop"
    row = encode(tokenizer, ASK, Message("assistant", answer))
    assert learned(tokenizer, row) == [f"{answer}{tokenizer.eos_token}"]


def test_a_thinking_template_that_hides_earlier_thoughts_is_masked(tokenizer: PreTrainedTokenizerBase) -> None:
    """Like Qwen3: the last answer is rendered with a thought, earlier ones without."""
    kept = tokenizer.chat_template
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>"
        "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content }}{{ eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    try:
        row = encode(tokenizer, ASK, TELL, Message("user", "Sure?"), Message("assistant", "No"))
        assert learned(tokenizer, row) == [
            f"Two, I think.{tokenizer.eos_token}",
            f"<think></think>No{tokenizer.eos_token}",
        ]
    finally:
        tokenizer.chat_template = kept


def test_a_tokenizer_without_a_template_says_how_to_give_one(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama(tmp_path))
    template = tokenizer.chat_template
    tokenizer.chat_template = None
    with pytest.raises(FrameworkError, match=r"model\.chat_template=FILE"):
        chat.set_template(tokenizer, None)
    file = tmp_path / "own.jinja"
    file.write_text(template, encoding="utf-8")
    chat.set_template(tokenizer, str(file))
    assert tokenizer.chat_template == template
    with pytest.raises(FrameworkError, match=r"missing\.jinja: No such file"):
        chat.set_template(tokenizer, str(tmp_path / "missing.jinja"))
