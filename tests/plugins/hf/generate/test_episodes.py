"""hf/generate/episodes.py: answers with tools are those of TRL, and what a tool returns is not learned."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.chat_template_utils import qwen3_chat_template

from framework import FrameworkError, testing
from framework.api import Answer, FunctionReward, Message, Prompt, Step, ToolCall, rewarding
from framework.api.training import Sampled, SamplingParams, TrainRun
from framework.hooks.rewards import FunctionRewardConfig
from framework_plugins.hf.generate.episodes import PATIENCE, Episodes
from framework_plugins.hf.generate.generate import to_answer
from framework_plugins.hf.generate.sample import Drawn
from framework_plugins.hf.model import HFModel
from tests.support import tools
from tests.support.tiny import tiny_chatml
from tests.support.training import make, opened

COUNTER = "method.environment=tests.support.tools:Counter"
ADD = '<tool_call>\n{"name": "add", "arguments": {"amount": %s}}\n</tool_call>'
LOOK = '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'
SCRIPT = [[ADD % 3, ADD % -1, "Why?", LOOK], ["Done.", ADD % 3, "Yes."], ["So."]]
"""What four answers say, turn by turn: those that call a tool say something in the next one."""
ASKED = [{"prompt": [{"role": "user", "content": "Count to 3."}], "target": 3}]
EOS = "<|im_end|>"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose chat template has tools, and rewrites earlier turns."""
    place = tiny_chatml(tmp_path_factory.mktemp("tools"))
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.chat_template = qwen3_chat_template
    tokenizer.save_pretrained(place)
    return place


class Script:
    """Says what a script says, turn by turn."""

    def __init__(self, tokenizer: Any, script: Sequence[Sequence[str]], model: Any = None) -> None:
        self.tokenizer, self.turns, self.model = tokenizer, iter(script), model

    def ids(self, said: str) -> list[int]:
        found: list[int] = self.tokenizer(f"{said}{EOS}", add_special_tokens=False)["input_ids"]
        return found

    def __call__(self, starts: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Drawn]]:
        said, n = next(self.turns), params.n
        asked = [[*start] for start in starts for _ in range(n)]
        drawn = [self._drawn(start, self.ids(text)) for start, text in zip(asked, said, strict=True)]
        return [drawn[first : first + n] for first in range(0, len(drawn), n)]

    @torch.no_grad()
    def _drawn(self, start: list[int], ids: list[int]) -> Drawn:
        if self.model is None:
            return Drawn(ids, [-1.0] * len(ids), stopped=True)
        logits = self.model(torch.tensor([start + ids])).logits[0, len(start) - 1 : -1].log_softmax(-1)
        return Drawn(ids, logits.gather(1, torch.tensor(ids)[:, None])[:, 0].tolist(), stopped=True)


def episodes(base: Path, factory: Callable[[], Any], *, most: int | None = None, limit: int = 10**6) -> Episodes:
    tokenizer = AutoTokenizer.from_pretrained(base)

    def render(prompt: Prompt) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
        text = tokenizer.apply_chat_template(turns, tools=[*prompt.tools], add_generation_prompt=True, tokenize=False)
        return str(text)

    return Episodes(factory, tokenizer, frozenset({tokenizer.eos_token_id}), render, most, limit)


def prompt() -> Prompt:
    return Prompt((Message("user", "Count to 3."),), where="rows.jsonl:1", columns={"target": 3})


def answers(base: Path, script: Sequence[Sequence[str]] = SCRIPT, *, room: int = 400, **more: Any) -> list[Sampled]:
    made = episodes(base, more.pop("factory", tools.Counter), **more)
    (found,) = made([prompt()], SamplingParams(4, room, seed=1), Script(made.tokenizer, script))
    return found


def test_what_a_tool_returns_is_read_by_the_model_and_not_learned(base: Path) -> None:
    tokenizer, found = AutoTokenizer.from_pretrained(base), answers(base)
    first = found[0]
    assert tokenizer.decode(first.row.learned) == f"{ADD % 3}{EOS}Done.{EOS}"
    assert len(first.log_probs) == len(first.row.learned)
    whole = tokenizer.decode(first.row.input_ids)
    assert "Count to 3. The counter is at 0." in whole
    assert '"name": "add"' in whole
    assert "<tool_response>\nIt shows 3.\n</tool_response>" in tokenizer.decode(first.written)
    assert [turn["role"] for turn in first.episode.turns] == ["assistant", "tool", "assistant"]  # type: ignore[union-attr]
    assert [each.text for each in found] == ["Done.", "So.", "Why?", "Yes."]
    kept = [each.episode for each in found if each.episode]
    assert [(each.calls, each.failed) for each in kept] == [(1, 0), (2, 1), (0, 0), (1, 0)]
    assert kept[1].turns[1]["content"] == "{'error': 'it only counts up'}"
    assert kept[3].turns[1]["content"] == "It still shows 0."

    reader = rewarding.RunRewards({"at": FunctionReward(tools.at_target, FunctionRewardConfig())}, {"at": 0.5})
    rewards = reader([prompt()] * 4, found)
    assert rewards.items == {"at": [1.0, 1.0, 0.0, 0.0], "Counter": [1.0, 1.0, 0.0, 0.0]}
    assert rewards.total == [1.5, 1.5, 0.0, 0.0]


def test_an_answer_ends_at_its_most_tokens_and_at_its_most_calls(base: Path) -> None:
    short = answers(base, room=len(Script(AutoTokenizer.from_pretrained(base), ()).ids(ADD % 3)) + 2)
    assert [len(each.episode.turns) for each in short] == [1, 1, 1, 1]  # type: ignore[union-attr]
    assert [each.stopped for each in short] == [True, True, True, True]
    once = answers(base, most=1)
    assert [len(each.episode.turns) for each in once] == [3, 3, 1, 3]  # type: ignore[union-attr]


def test_an_environment_that_raises_is_an_error_with_its_prompt(base: Path) -> None:
    with pytest.raises(FrameworkError, match=r"Breaks.reset fails for rows.jsonl:1: KeyError: 'level'"):
        answers(base, factory=tools.Breaks)
    with pytest.raises(FrameworkError, match=r"Exits.reset fails for rows.jsonl:1: SystemExit: 3"):
        answers(base, factory=tools.Exits)
    with pytest.raises(FrameworkError, match=r"environment makes a str, without a method `reset`: give a class"):
        answers(base, factory=os.getcwd)
    told = r"^rows.jsonl:1 has \d+ tokens with its tools and what Counter.reset adds. .* trainer.max_seq_length=500: "
    with pytest.raises(FrameworkError, match=told):
        answers(base, limit=500)
    script = [[ADD % -1] * 4] * PATIENCE
    with pytest.raises(
        FrameworkError, match=r"all of the first 32 calls .* rows.jsonl:1: Counter.add: ValueError: it o"
    ):
        answers(base, script, room=10**4)


def test_the_loop_of_an_environment_ends_with_the_episodes(base: Path) -> None:
    drawn = episodes(base, tools.Counter)
    assert drawn._wait_for(tools.Counter().look()) == "It still shows 0."  # noqa: SLF001
    (loop,) = [thread for thread in threading.enumerate() if "_run_loop" in thread.name]
    del drawn
    gc.collect()
    loop.join(5)
    assert not loop.is_alive()


def test_half_a_surrogate_pair_is_spelled_out_for_the_model(base: Path) -> None:
    class Odd(tools.Counter):
        def reset(self, target: int = 0, **_: Any) -> str:
            super().reset(target)
            return chr(0xD800)

        async def look(self) -> str:
            """Look."""
            return chr(0xD800)

    odd = answers(base, [[LOOK] * 4, ["So."] * 4], factory=Odd)[0]
    assert odd.episode is not None
    assert [turn["content"] for turn in odd.episode.turns if turn["role"] == "tool"] == [r"\ud800"]


def test_an_answer_to_a_prompt_with_tools_has_its_calls(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": "a", "completion": "b"}) + "\n" for _ in range(4)), encoding="utf-8")
    words = ("audit=[]", "data.validation_split=0")

    def complete(model: HFModel, starts: Sequence[Sequence[int]], **_: Any) -> list[Answer]:
        ids = model.tokenizer(f"{ADD % 3}{EOS}", add_special_tokens=False)["input_ids"]
        return [to_answer(model.tokenizer, ids, model.stop_ids) for _ in starts]

    monkeypatch.setattr(HFModel, "complete", complete)
    with opened(make(base, rows, tmp_path / "run", *words)) as (model, _):
        asked = prompt()
        tools = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}},)
        answers = model.generate([asked, replace(asked, tools=tools)], max_new_tokens=40, batch_size=2)
    assert [answer.calls for answer in answers] == [(), (ToolCall("add", {"amount": 3}),)]
    assert answers[0].text == answers[1].text == ADD % 3


def test_a_training_learns_what_the_model_wrote_itself(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ASKED * 4), encoding="utf-8")
    steps: list[Step] = []
    words = (
        "method=grpo", COUNTER, "method.num_generations=4", "method.max_completion_length=400", "audit=[]",
        "trainer.max_steps=2", "trainer.per_device_train_batch_size=1", "trainer.gradient_accumulation_steps=1",
        "data.validation_split=0", "trainer.logging_steps=1", "adapter.lora_dropout=0.0", "trainer.max_seq_length=2048",
    )  # fmt: skip

    def draw(_: HFModel, starts: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Drawn]]:
        return script(starts, params)

    monkeypatch.setattr(HFModel, "_draw", draw)
    with opened(make(base, rows, tmp_path / "run", *words)) as (model, data):
        assert [asked.columns["target"] for asked in data.train_prompts] == [3] * 4  # which `reset` reads
        script = Script(model.tokenizer, SCRIPT * 2, model.model)
        run = TrainRun(
            tmp_path / "checkpoint", tmp_path / "scratch", steps.append, prompts=data.train_prompts,
            reward=rewarding.rewarder({}),
        )  # fmt: skip
        model.train(data.train_groups, [], run)
    seen = steps[0].loss_metrics
    assert seen[Sampled.DRAW_DIFFERENCE] < 1e-4  # the tokens of the model are where it wrote them
    assert (seen["rewards/Counter/mean"], seen["tools/call_frequency"], seen["tools/failure_frequency"]) == (
        0.5,
        1,
        0.25,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("method.environment=tests.support.tools:Nothing",), "Nothing cannot be loaded: AttributeError"),
        (("method.environment=tests.support.tools:NoReset",), "is not a class with a method `reset`"),
        (("method.environment=./none.py:Game",), "there is no file ./none.py"),
        (("method.environment=game",), "names no class: give ./file.py:Class, or package.module:Class"),
        (("method.environment=tests.support.tools:Plain",), "has no method `get_reward`, so something else has to"),
        (("method.environment=tests.support.tools:plain",), "tools:plain returns a Plain, which has no method `get_re"),
        (("reward=[length]", "method.max_tool_calling_iterations=2"), "has no effect without method.environment"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused_by_the_plan(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    with pytest.raises(FrameworkError) as caught:
        testing.plan(["method=grpo", *words], run_dir=tmp_path)
    assert told in str(caught.value)


def test_a_chat_template_without_tools_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match="the chat template of the model does not write them"):
        episodes(tiny_chatml(tmp_path / "plain"), tools.Counter)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TRL's own
def test_answers_are_those_of_trl(base: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    args = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=400,
        use_cpu=True, report_to=[], bf16=False, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(base), None, args, Dataset.from_list(ASKED),
        processing_class=AutoTokenizer.from_pretrained(base), environment_factory=tools.Counter,
    )  # fmt: skip
    script = Script(trainer.processing_class, SCRIPT)

    def one_turn(starts: Sequence[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], list[list[float]]]:
        drawn = [some[0] for some in script(starts, SamplingParams())]
        return [each.ids for each in drawn], [each.log_probs for each in drawn]

    trainer._generate_single_turn = one_turn  # noqa: SLF001 - TRL has no public name
    theirs = trainer._generate_and_score_completions([dict(ASKED[0]) for _ in range(4)])  # noqa: SLF001
    ours = answers(base)
    for number, answer in enumerate(ours):
        length = int(theirs["completion_mask"][number].sum())
        assert theirs["completion_ids"][number, :length].tolist() == answer.written
        learned = theirs["tool_mask"][number, :length].bool().tolist()
        assert learned == [label >= 0 for label in answer.row.labels[-length:]]
