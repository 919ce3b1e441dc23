"""The testing kit: a backend without torch that memorizes."""

import json
import math
from pathlib import Path

import pytest
from hydra.errors import HydraException

from framework import FrameworkError, testing
from framework.api.protocols import Backend, Model, ModelSource, TrainRun
from framework.api.records import Example, Message, Prompt, Step
from framework.hooks.session import current
from framework.plan.make import make_plan
from framework.testing import echo

EXAMPLES = [
    Example((Message("user", f"say {number}"), Message("assistant", f"it is {number}")), "chatml", f"row {number}")
    for number in range(4)
]
PROMPTS = [Prompt(example.messages[:-1]) for example in EXAMPLES]


@pytest.fixture
def model(tmp_path: Path) -> testing.EchoModel:
    """Return a model that knows nothing yet."""
    return testing.EchoModel(testing.plan(["trainer.max_steps=3"], run_dir=tmp_path))


def answers(model: testing.EchoModel, limit: int = 9) -> list[str]:
    return [answer.text for answer in model.generate(PROMPTS, max_new_tokens=limit, batch_size=2)]


def test_installing_twice_adds_the_options_once() -> None:
    testing.install()
    testing.install()
    assert {"echo"} <= current().plugins.components("model").keys() & current().plugins.components("trainer").keys()


def test_the_kit_keeps_the_protocols_that_it_stands_in_for(model: testing.EchoModel) -> None:
    assert isinstance(model, Model)
    assert isinstance(testing.EchoBackend(echo.EchoTrainerConfig()), Backend)
    assert isinstance(echo.EchoSource(echo.EchoModelConfig()), ModelSource)


def test_labels_stand_on_the_assistants_words_and_their_stop(model: testing.EchoModel) -> None:
    (row, *_) = model.encode(EXAMPLES)
    assert row.input_ids == [1, 2, 0, 3, 4, 2, 0]
    assert row.labels == [-100, -100, -100, 3, 4, 2, 0]


def test_what_was_trained_is_answered_and_the_base_still_repeats_the_question(
    model: testing.EchoModel, tmp_path: Path
) -> None:
    rows = model.encode(EXAMPLES)
    steps: list[Step] = []
    assert answers(model) == ["say 0", "say 1", "say 2", "say 3"]
    result = model.train(rows, [], TrainRun(tmp_path / "checkpoint", tmp_path / "scratch", steps.append))
    assert answers(model) == ["it is 0", "it is 1", "it is 2", "say 3"]
    assert [step.step for step in steps] == [1, 2, 3]
    assert (result.steps, result.tokens, result.supervised_tokens) == (3, 21, 12)
    assert model.loss(rows[:3]) == 0
    assert model.loss(rows) == pytest.approx(math.log(len(model.words) + 1) / 4)
    with model.as_base():
        assert answers(model) == ["say 0", "say 1", "say 2", "say 3"]
    fresh = testing.EchoModel(model.plan)
    fresh.restore(tmp_path / "checkpoint")
    assert answers(fresh) == answers(model)


def test_an_answer_that_is_cut_off_did_not_stop_by_itself(model: testing.EchoModel) -> None:
    (answer, *_) = model.generate(PROMPTS, max_new_tokens=1, batch_size=1)
    assert (answer.text, answer.tokens, answer.stopped) == ("say", 1, False)


def test_a_batch_of_none_is_refused(model: testing.EchoModel) -> None:
    with pytest.raises(FrameworkError, match="batch_size=0"):
        model.generate(PROMPTS, max_new_tokens=1, batch_size=0)


def test_the_tokenizer_is_the_list_of_words(model: testing.EchoModel, tmp_path: Path) -> None:
    model.encode(EXAMPLES[:1])
    model.save_tokenizer(tmp_path)
    assert json.loads((tmp_path / "words.json").read_text(encoding="utf-8")) == {"say": 1, "0": 2, "it": 3, "is": 4}


def test_a_plan_of_the_kit_takes_the_overrides_of_the_command_line(tmp_path: Path) -> None:
    plan = testing.plan(["logger=[jsonl]", "seed=3"], run_dir=tmp_path)
    assert (list(plan.logger), plan.seed, plan.run_dir) == (["jsonl"], 3, tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["seed=7", "adapter=dora", "adapter.r=4", "trainer.learning_rate=0.1", "stages=[plan]"],
        ["data=local_file", "data.path='/a b/rows.jsonl'", "data.mix=[{data:hub,path:acme/x,weight:0.1}]"],
        ["+experiment=quickstart", "evaluator.prompts.count=4"],
        ["metric=[exact_match]", "~metric.exact_match"],
        ["++trainer.max_steps=3"],
    ],
    ids=" ".join,
)
def test_a_plan_of_the_kit_has_the_config_that_hydra_composes(words: list[str], tmp_path: Path) -> None:
    """Also the second one, for which the choices are not composed again."""
    plans = [testing.plan([*words, "evaluator=[prompts]"], run_dir=tmp_path / "run") for _ in range(2)]
    composed = testing.compose(plans[0].overrides)
    for plan in plans:
        assert plan.config == make_plan(composed, run_dir=tmp_path / "run").config


@pytest.mark.parametrize("word", ["trainer.lerning_rate=1", "seed=1,2", "hydra.job.name=x"])
def test_what_hydra_refuses_the_kit_refuses_in_its_words(word: str, tmp_path: Path) -> None:
    told = []
    for compose in (testing.compose, lambda words: testing.plan(words, run_dir=tmp_path)):
        try:
            compose(["model=echo", "trainer=echo", "logger=[]", "evaluator=[prompts]", word])
        except (HydraException, FrameworkError) as error:
            told.append(str(error))
        else:
            told.append("")
    assert told[0] == told[1]
