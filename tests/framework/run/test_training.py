"""Monitoring of a training, on the echo backend: what is reported, what is obeyed, and what the records hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, hookimpl, testing
from framework.api import records
from framework.api.data import Data
from framework.api.records import EvalResult, Measure, Report, Step, TrainingIssue, TrainResult
from framework.api.schema import Action
from framework.evaluate.measure import Measuring
from framework.hooks.session import current
from framework.run import pipeline
from framework.run.interruption import Interruption
from framework.run.stages import Events
from framework.run.training import TrainingController
from framework.util.errors import PrunedError
from tests.support.results import EVEN

Run = Callable[..., TrainResult]


@pytest.fixture
def run(rows: list[dict[str, str]], write_rows: Callable[..., Path], tmp_path: Path) -> Run:
    """Return a function that trains on twenty rows, validates on four of them and asks them."""
    train, few = write_rows(rows), write_rows(rows[:4])
    files = [f"data.path={train}", f"data.validation_path={few}", f"data.prompts_path={few}"]
    always = ["data=local_file", *files, "logger=[jsonl]", "exporter=[]", "audit=[]"]

    def made(*words: str) -> TrainResult:
        pipeline.run(testing.plan([*always, *words], run_dir=tmp_path / "run"))
        return records.load(TrainResult, tmp_path / "run" / "train.json")

    return made


def events(tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    lines = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def learned(tmp_path: Path) -> int:
    """Return how many rows the saved weights know."""
    return len(json.loads((tmp_path / "run" / "checkpoint" / "echo.json").read_text(encoding="utf-8"))[0])


def test_a_training_without_a_validation_before_its_end_has_nothing_to_choose_from(run: Run, tmp_path: Path) -> None:
    trained = run()
    assert (trained.best_step, trained.best_value, trained.stopped, trained.issues) == (None, None, "", [])
    assert learned(tmp_path) == trained.steps == 20
    assert all(step["eval_loss"] is None for step in events(tmp_path, "step"))


def test_the_weights_of_the_best_validation_are_kept(run: Run, tmp_path: Path) -> None:
    trained = run("trainer.eval_steps=4", "trainer.eval_losses=[3,2,1,1.05,1.04]")
    assert (trained.steps, trained.best_step, trained.best_value) == (20, 12, 1.0)
    assert learned(tmp_path) == 12
    checks = {step["step"]: step["eval_loss"] for step in events(tmp_path, "step") if step["eval_loss"] is not None}
    assert checks == {4: 3, 8: 2, 12: 1, 16: 1.05, 20: 1.04}


def test_the_end_of_the_training_is_a_validation_too(run: Run, tmp_path: Path) -> None:
    trained = run("trainer.eval_steps=8", "trainer.eval_losses=[3,2,1]")
    assert (trained.best_step, learned(tmp_path)) == (20, 20)


def test_without_keep_best_the_last_weights_are_kept_and_the_best_is_known(run: Run, tmp_path: Path) -> None:
    trained = run("trainer.eval_steps=4", "trainer.eval_losses=[3,1,2,2,2]", "trainer.keep_best=false")
    assert (trained.best_step, learned(tmp_path)) == (8, 20)


def test_the_training_ends_when_patience_does(run: Run, tmp_path: Path) -> None:
    trained = run("trainer.eval_steps=2", "trainer.eval_losses=[3,1,2,2]", "trainer.early_stopping_patience=2")
    assert (trained.steps, trained.best_step, learned(tmp_path)) == (8, 4, 4)
    assert trained.stopped == "early stopping: eval_loss was 1 at step 4, and not better in 2 validations since"
    assert events(tmp_path, "step")[-1]["step"] == 8
    assert records.load(Report, tmp_path / "run" / "report.json").train == trained


def test_a_metric_of_the_run_can_say_which_is_the_best(run: Run, tmp_path: Path) -> None:
    words = ["trainer.early_stopping_metric=exact_match", "trainer.eval_steps=2"]
    trained = run(*words)
    metrics = [step["metrics"]["exact_match"] for step in events(tmp_path, "step") if step["metrics"]]
    assert metrics == [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert (trained.best_step, trained.best_value, learned(tmp_path)) == (4, 1.0, 4)
    stopped = run(*words, "trainer.early_stopping_patience=3")
    assert (stopped.steps, stopped.best_step) == (10, 4)


def test_a_training_that_is_no_number_ends_at_once_and_saves_nothing(run: Run, tmp_path: Path) -> None:
    told = r"^step 3, nan: the loss is nan; the training stops, and no earlier weights were set aside, so nothing is"
    with pytest.raises(FrameworkError, match=told) as refused:
        run("trainer.losses=[2,1,nan]")
    assert str(refused.value).splitlines()[1].startswith("Lower trainer.learning_rate from 0.0002 to between 2e-05")
    assert [step["step"] for step in events(tmp_path, "step")] == [1, 2, 3]
    (issue,) = events(tmp_path, "issue")
    assert (issue["kind"], issue["step"], issue["action"]) == ("nan", 3, "stop")
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert not (tmp_path / "run" / "train.json").exists()


def test_where_weights_were_set_aside_before_they_are_what_is_left(run: Run, tmp_path: Path) -> None:
    trained = run("trainer.losses=[2,1,1,1,1,nan]", "trainer.eval_steps=2", "trainer.eval_losses=[2,1,3]")
    assert (trained.steps, trained.best_step, learned(tmp_path)) == (6, 4, 4)
    assert trained.stopped == "step 6, nan: the loss is nan; the training stops"
    assert [(issue.kind, issue.action) for issue in trained.issues] == [("nan", Action.stop)]


def test_a_stop_between_two_validations_is_validated_and_reported_again(run: Run, tmp_path: Path) -> None:
    losses, checks = [2, 1, 1, 1, "nan"], [2, 1, 0.5]
    trained = run(f"trainer.losses={losses}".replace("'", ""), "trainer.eval_steps=2", f"trainer.eval_losses={checks}")
    steps = events(tmp_path, "step")
    assert [(step["step"], step["eval_loss"]) for step in steps[-3:]] == [(4, 1), (5, None), (5, 0.5)]
    assert (trained.steps, trained.best_step, learned(tmp_path)) == (5, 5, 5)


@pytest.mark.parametrize("action", ["warn", "ignore"])
def test_a_training_goes_on_where_it_is_not_to_stop(run: Run, tmp_path: Path, action: str) -> None:
    trained = run("trainer.losses=[2,nan]", f"health.nan={action}")
    assert (trained.steps, trained.stopped, learned(tmp_path)) == (20, "", 20)
    assert len(events(tmp_path, "issue")) == len(trained.issues) == (action == "warn")


def test_a_lower_rate_is_that_of_the_steps_that_follow(run: Run, tmp_path: Path) -> None:
    norms = ",".join(["1"] * 12 + ["2000"])
    run(f"trainer.grad_norms=[{norms}]", "health.exploding_gradient=lower", "health.lower_to=0.1")
    rates = [step["learning_rate"] for step in events(tmp_path, "step")]
    assert rates == pytest.approx([2e-4] * 17 + [2e-5] * 3)
    (issue,) = events(tmp_path, "issue")
    assert issue["text"].endswith("; from here on, the learning rate is 0.1 times what it would be")


ASKED = [{"instruction": f"{'and on ' * 20}{number}", "output": f"it is {number}"} for number in range(6)]
"""The echo backend repeats a question, which is far longer than its answer, until it has learned that."""


@pytest.fixture
def asked(write_rows: Callable[..., Path]) -> list[str]:
    """Return overrides for rows that the base never ends to answer."""
    file = write_rows(ASKED)
    return [*(f"data.{name}={file}" for name in ("path", "validation_path", "prompts_path")), "audit=[]"]


def test_answers_that_do_not_end_are_reported_after_the_evaluation_and_reported(
    run: Run, asked: list[str], tmp_path: Path
) -> None:
    trained = run(*asked, "evaluator.prompts.max_new_tokens=9", "trainer.max_steps=2")
    (issue,) = events(tmp_path, "issue")
    assert issue["text"] == "4 of 6 answers did not end by themselves, and 6 of 6 of the base model"
    assert (issue["step"], issue["action"]) == (2, "warn")
    assert trained.issues == []
    report = records.load(Report, tmp_path / "run" / "report.json")
    assert report.train is not None
    assert [found.text for found in report.train.issues] == [issue["text"]]


def test_answers_that_do_not_end_are_seen_in_validations_that_ask(run: Run, asked: list[str], tmp_path: Path) -> None:
    words = ["evaluator.prompts.max_new_tokens=9", "trainer.eval_steps=2", "trainer.early_stopping_metric=exact_match"]
    trained = run(*asked, *words)
    assert [(found.step, found.text.partition(",")[0]) for found in trained.issues] == [
        (2, "4 of 6 answers did not end by themselves"),
        (4, "2 of 6 answers did not end by themselves"),
    ]
    stopped = run(*asked, *words, "health.truncated_answers=stop")
    assert (stopped.steps, stopped.stopped.partition(":")[0]) == (2, "step 2, truncated_answers")
    assert events(tmp_path, "issue")[-1]["kind"] == "truncated_answers"


class Says:
    """An evaluator that gives one result after the other."""

    def __init__(self, *results: EvalResult) -> None:
        self.results = list(results)

    def evaluate(self, *_: object) -> EvalResult:
        return self.results.pop(0)


GIVEN = EvalResult({"exact_match": Measure(0.5, higher_is_better=True)})


def controller(tmp_path: Path, *results: EvalResult, base: EvalResult | None = None) -> TrainingController:
    plan = testing.plan(["trainer.early_stopping_metric=exact_match", "evaluator=[prompts]"], run_dir=tmp_path)
    data = Data([], [], [], EVEN)
    says: Any = Says(*results)
    measuring = Measuring(plan, testing.EchoModel(plan), data, {"prompts": says}, {}, current())
    return TrainingController(Events(plan, current()), measuring, base, Interruption(tmp_path, tmp_path, 1.0))


@pytest.mark.parametrize(
    ("notes", "told"), [([], "choose one that answers prompts"), (["the judge is down"], "the judge is down")]
)
def test_a_metric_that_no_evaluator_gives_ends_the_training(tmp_path: Path, notes: list[str], told: str) -> None:
    with pytest.raises(FrameworkError, match=f"exact_match is returned by no evaluator: {told}"):
        controller(tmp_path, EvalResult({}, notes=notes)).measure()


def test_a_metric_that_is_missing_once_counts_for_nothing(tmp_path: Path) -> None:
    asked = controller(tmp_path, GIVEN, EvalResult({}), GIVEN)
    assert [asked.measure() for _ in range(3)] == [{"exact_match": 0.5}, {}, {"exact_match": 0.5}]
    assert asked.best.higher_is_better
    assert controller(tmp_path, EvalResult({}), base=GIVEN).measure() == {}


class Impatient:
    """Gives a run up once its validation loss is above two."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float | None]] = []

    @hookimpl
    def framework_prune_reasons(self, step: Step) -> list[Any]:
        """Note the validation, and say what is wrong with it."""
        self.seen.append((step.step, step.eval_loss))
        return ["it is hopeless", "and more"] if (step.eval_loss or 0) > 2 else []


def test_hook_validated_is_given_each_validation_loss_and_gives_a_run_up(run: Run, tmp_path: Path) -> None:
    listener = Impatient()
    current().plugins.add(listener, name="impatient")
    try:
        with pytest.raises(PrunedError, match=r"^step 8 of 20: it is hopeless$"):
            run("trainer.eval_steps=4", "trainer.eval_losses=[1,3]")
    finally:
        current().plugins.manager.unregister(listener)
    assert listener.seen == [(4, 1), (8, 3)]
    assert not (tmp_path / "run" / "checkpoint").exists()
    status = json.loads((tmp_path / "run" / "status.json").read_text(encoding="utf-8"))
    assert (status["state"], status["error"]) == ("pruned", "step 8 of 20: it is hopeless")


def test_a_plugin_that_gives_no_sentence_is_left_out_and_the_run_goes_on(run: Run) -> None:
    class Wrong:
        @hookimpl
        def framework_prune_reasons(self) -> list[Any]:
            return [7]

    plugin = Wrong()
    current().plugins.add(plugin, name="wrong")
    try:
        assert run("trainer.eval_steps=4").steps == 20
    finally:
        current().plugins.manager.unregister(plugin)
    assert any(left.plugin == "wrong" and "it gives int" in left.reason for left in current().plugins.skipped_plugins())


class Monitors:
    """A plugin whose monitor gives `answer`, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    @hookimpl
    def framework_training_monitors(self) -> list[Any]:
        return [self]

    def check(self, step: Step) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(step)


@pytest.fixture
def monitored() -> Iterator[Callable[[Any], None]]:
    """Return a function that registers a monitor for the test."""
    added: list[Monitors] = []

    def add(answer: Any) -> None:
        added.append(Monitors(answer))
        current().plugins.add(added[-1], name="acme")

    yield add
    for plugin in added:
        current().plugins.manager.unregister(plugin)


def test_a_monitor_of_a_plugin_says_what_is_wrong_and_ends_the_training(
    run: Run, monitored: Callable[[Any], None], tmp_path: Path
) -> None:
    monitored(lambda step: [TrainingIssue("mine", step.step, "seen", "Fix it", Action.stop)] if step.step == 3 else [])
    trained = run()
    assert (trained.steps, trained.stopped) == (3, "step 3, mine: seen")
    assert [issue.kind for issue in trained.issues] == ["mine"]
    assert [event["kind"] for event in events(tmp_path, "issue")] == ["mine"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [(ValueError("oh"), "ValueError: oh"), (lambda _: ["a text"], "check gives str, not a TrainingIssue")],
)
def test_a_monitor_that_breaks_is_named_once_and_the_training_goes_on(
    run: Run, monitored: Callable[[Any], None], capsys: pytest.CaptureFixture[str], answer: Any, told: str
) -> None:
    current().plugins._skipped.pop(("acme", "framework_training_monitors"), None)  # noqa: SLF001 - each is named once a process
    monitored(answer)
    assert run().steps == 20
    assert capsys.readouterr().err.count(told) == 1


def test_a_mistake_that_a_monitor_finds_ends_the_run(run: Run, monitored: Callable[[Any], None]) -> None:
    monitored(FrameworkError("fix this"))
    with pytest.raises(FrameworkError, match="fix this"):
        run()
