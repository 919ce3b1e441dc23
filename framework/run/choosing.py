"""Answers that are drawn before a training, and those of them that it learns; beside them a random choice, the control.

A method with a `control` learns one answer to each prompt. The control learns another one of the same answers
to the same prompts, at random: what the chosen ones bring beyond it is what the reward brings, and the rest is what any
training on the model's own answers does.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from framework.api import records, rewarding
from framework.api.events import Event
from framework.api.protocols import Feature, Method, RemoteTrainer
from framework.api.records import Answer, EvalResult, Measure, Prompt, Sampled, Severity, TokenRow, TrainingIssue
from framework.api.rewarding import RunRewards
from framework.api.run_folder import RunFolder
from framework.api.schema import Action, Affects
from framework.api.scoring import with_reference
from framework.data.reward_audit import drawn
from framework.evaluate.measure import Measuring, first_items
from framework.hooks.session import current
from framework.run.interruption import Interruption
from framework.run.training import TrainingController
from framework.rundir.folder import SCRATCH
from framework.util.errors import FrameworkError
from framework.util.hashing import key_of

ANSWERS_FILE, CONTROL = "answers.json", "control"
DRAWN_FILE = "drawn.jsonl"
"""The answers that are drawn and not scored yet: their key, then a line for the prompts that were answered at once."""
PROMPTS_AT_ONCE = 16
"""Prompts that are answered before the next ones."""


@dataclass(frozen=True)
class DrawnAnswer:
    """An answer of the model with its rewards; `usable` says whether it can be learned."""

    text: str
    tokens: int
    stopped: bool
    reward: float | None
    rewards: dict[str, float | None]
    usable: bool = True


@dataclass(frozen=True)
class DrawnPrompt:
    """A prompt with its answers, and the numbers of those that are learned, from 0; None: there is nothing to choose.

    `chosen` is what the method learns, `control` what the control learns.
    """

    where: str
    prompt: str
    answers: list[DrawnAnswer]
    chosen: int | None = None
    control: int | None = None


@dataclass(frozen=True)
class Drawn:
    """All answers, as `answers.json`; `key` is a hash over what made them, `issues` is what is wrong with them."""

    key: str
    prompts: list[DrawnPrompt] = field(default_factory=list)
    issues: list[TrainingIssue] = field(default_factory=list)


def _seed(*parts: int) -> int:
    return int(key_of(list(parts))[:8], 16)


class Choosing:
    """Draws the answers of a run once, and keeps them in its folder.

    Args:
        measuring: of the run, whose model is not trained yet when the answers are drawn.
        tell: receives what is wrong with the answers.
    """

    def __init__(self, measuring: Measuring, tell: Callable[[TrainingIssue], None]) -> None:
        self.plan, self.model, self.data, self.tell = measuring.plan, measuring.model, measuring.data, tell
        self.method: Method = self.plan.method.create()
        self.issues: list[TrainingIssue] = []
        self._drawn = self.plan.run_dir / RunFolder.TRAINING_STATE / DRAWN_FILE

    def rows(self, *, control: bool = False) -> list[TokenRow]:
        """Return the rows that are learned; those of the control are as many, to the same prompts.

        Raises:
            FrameworkError: a reward fails, or no prompt has answers with different rewards.
        """
        result = self.answers()
        rows: list[TokenRow] = []
        for prompt, drawn_prompt in zip(self.data.train_prompts, result.prompts, strict=True):
            if (index := drawn_prompt.control if control else drawn_prompt.chosen) is not None:
                rows += self._encoded(prompt, {index: drawn_prompt.answers[index].text})
        if not rows:
            raise self._no_choice_error(result)
        return rows

    def answers(self) -> Drawn:
        """Return the answers with their rewards: those of an earlier start of this run, or new ones.

        Raises:
            FrameworkError: a reward fails.
        """
        reward = rewarding.rewarder(self.plan.reward)
        rewards = reward.rewards.values()
        key = key_of(self.data.result.fingerprint, self.plan.affecting(Affects.training), code=[self.method, *rewards])
        file = self.plan.run_dir / ANSWERS_FILE
        try:
            result = records.load(Drawn, file)
        except (OSError, ValueError):
            result = Drawn("")
        if result.key != key:
            result = self._draw(key, self.data.train_prompts, reward)
            records.save(result, file)
            self._drawn.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the trainer may have something there
                self._drawn.parent.rmdir()
            for issue in result.issues:
                self.tell(issue)
        self.issues = result.issues
        return result

    def _groups(self, prompts: Sequence[Prompt]) -> list[list[Answer]]:
        """Draw the answers to all prompts, but for those that an earlier start of this run has drawn."""
        settings = self.plan.affecting(Affects.training)
        del settings["reward"]  # which is often what the user changes in between
        key = key_of(self.data.result.fingerprint, settings, code=[self.method])
        groups = _read(self._drawn, key)
        self._drawn.parent.mkdir(parents=True, exist_ok=True)
        generate = rewarding.limited(self.model.sample, self.plan.method.config)
        places = range(0, len(prompts), PROMPTS_AT_ONCE)
        with (
            current().progress.counting(len(prompts), "prompt", "drawing answers") as counter,
            self._drawn.open("w", encoding="utf-8") as file,
        ):
            file.write(f"{key}\n")
            for start in places:
                if start >= len(groups):
                    new_groups = self.method.draw(
                        prompts[start : start + PROMPTS_AT_ONCE], generate, _seed(self.plan.seed, start)
                    )
                    groups += [[*map(_without_prompt_row, answers)] for answers in new_groups]
                batch = groups[start : start + PROMPTS_AT_ONCE]
                file.write(json.dumps([[asdict(answer) for answer in answers] for answers in batch]) + "\n")
                file.flush()
                counter.move(start + len(batch))
        return groups

    def _draw(self, key: str, prompts: Sequence[Prompt], reward: RunRewards) -> Drawn:
        groups = self._groups(prompts)
        flat = [(prompt, answer) for prompt, answers in zip(prompts, groups, strict=True) for answer in answers]
        rewards = reward([prompt for prompt, _ in flat], [answer for _, answer in flat])
        limit, index, drawn_prompts = self.plan.training.max_seq_length, 0, []
        for prompt, answers in zip(prompts, groups, strict=True):
            drawn_answers = []
            rows = self._encoded(prompt, dict(enumerate(answer.text for answer in answers)))
            for answer, row in zip(answers, rows, strict=True):
                usable = (
                    answer.stopped and bool(answer.text.strip()) and not row.problem and len(row.input_ids) <= limit
                )
                items = {name: values[index] for name, values in rewards.items.items()}
                drawn_answers.append(
                    DrawnAnswer(answer.text, answer.tokens, answer.stopped, rewards.total[index], items, usable)
                )
                index += 1
            drawn_prompts.append(self._chosen(prompt, drawn_answers))
        findings = [
            finding
            for finding in drawn([*zip(prompts, groups, strict=True)], rewards)
            if finding.severity is not Severity.note
        ]
        advised = [(finding.text, finding.advice[:1].upper() + finding.advice[1:]) for finding in findings]
        return Drawn(key, drawn_prompts, [TrainingIssue("rewards", 0, *texts, Action.warn) for texts in advised])

    def _chosen(self, prompt: Prompt, answers: list[DrawnAnswer]) -> DrawnPrompt:
        """Choose among the answers that can be learned, and at random; none if all have the same reward."""
        shown = DrawnPrompt(prompt.where, prompt.messages[-1].content, answers)
        indices = [index for index, answer in enumerate(answers) if answer.usable and answer.reward is not None]
        rewards = [reward for index in indices if (reward := answers[index].reward) is not None]
        if len({*rewards}) < 2:  # noqa: PLR2004 - equal ones leave nothing to choose
            return shown
        best = self.method.choose(rewards)
        if best is None:
            return shown
        by_chance = random.Random(f"{self.plan.seed} {prompt.where}").choice(indices)  # noqa: S311 - a choice, not a secret
        return replace(shown, chosen=indices[best], control=by_chance)

    def _encoded(self, prompt: Prompt, texts: Mapping[int, str]) -> list[TokenRow]:
        """Tokenize answers to a prompt, by their numbers, as the rows of a training; each has a place of its own."""
        examples = [with_reference(replace(prompt, reference=text), index) for index, text in texts.items()]
        places = (f"{prompt.where}, answer {index + 1}" for index in texts)
        return self.model.encode(
            [replace(example, where=where) for example, where in zip(examples, places, strict=True)]
        )

    def _no_choice_error(self, result: Drawn) -> FrameworkError:
        answers = [answer for prompt in result.prompts for answer in prompt.answers]
        cut = sum(not answer.stopped for answer in answers)
        return FrameworkError(
            f"no prompt of {len(result.prompts)} has two answers that can be learned with different rewards; "
            f"{cut} of {len(answers)} answers were cut off. Ask easier or harder prompts, draw more or longer answers "
            f"(method.num_generations, method.max_completion_length), or look at {self.plan.run_dir / ANSWERS_FILE}"
        )


def _without_prompt_row(answer: Answer) -> Answer:
    """Return an answer without the row of its prompt; its tokens are those that rewards see."""
    ids = tuple(answer.written) if isinstance(answer, Sampled) else answer.ids
    return Answer(answer.text, answer.tokens, stopped=answer.stopped, ids=ids)


def _read(file: Path, key: str) -> list[list[Answer]]:
    """Return the answers that were drawn with the same settings, up to a line that was cut."""
    groups: list[list[Answer]] = []
    with contextlib.suppress(OSError, ValueError, TypeError):  # TypeError: of a version with other fields
        header, *lines = file.read_text(encoding="utf-8").splitlines()
        for line in lines if header == key else ():
            groups += [
                [Answer(**{**fields, "ids": tuple(fields["ids"])}) for fields in answers]
                for answers in json.loads(line)
            ]
    return groups


class _NoEvents:
    """Receives the events of the control, which nobody follows."""

    def send(self, event: Event) -> None:
        """Do nothing."""


def with_control(
    choosing: Choosing,
    measuring: Measuring,
    before: EvalResult | None,
    after: EvalResult,
    interruption: Interruption,
    remote_trainer: RemoteTrainer | None,
) -> EvalResult:
    """Train the control, ask it what the trained model was asked, and add the comparison to the measures.

    The model has the trained weights of the run again in the end.
    """
    plan, model = measuring.plan, measuring.model
    if any(
        name.endswith(Measure.VS_RANDOM) for name in after.measures
    ):  # another trial of the sweep, whose weights these are
        return after
    if Feature.second_training not in model.features:
        return replace(after, notes=[*after.notes, f"trainer={plan.trainer.component.name} cannot train a control"])
    folder = plan.run_dir / CONTROL
    model.start_over()
    controller = TrainingController(
        _NoEvents(), measuring, before, interruption, rows=lambda: choosing.rows(control=True)
    )
    controller.train(folder, plan.run_dir / SCRATCH, remote_trainer)
    control_measures = _measures(measuring, after)
    model.forget_checkpoints()
    model.start_over()
    model.restore(plan.checkpoint)
    measures, base = dict(after.measures), dict(after.base)
    for name in plan.metric:
        if name in after.measures and name in control_measures:
            measures[f"{name}{Measure.VS_RANDOM}"] = _without_controls(after.measures[name])
            base[f"{name}{Measure.VS_RANDOM}"] = _without_controls(control_measures[name])
    return replace(after, measures=measures, base=base)


def _without_controls(measure: Measure) -> Measure:
    """Leave out what a gain over the base is compared with."""
    return replace(measure, content=[], constant="", constant_items=[], answers=0)


def _measures(measuring: Measuring, after: EvalResult) -> dict[str, Measure]:
    """Ask the control the prompts that the trained model was asked."""
    measures: dict[str, Measure] = {}
    names = [name for name in measuring.plan.metric if name in after.measures]
    for evaluator in measuring.evaluators.values():
        if evaluator.own_prompts(measuring.data.format) is None:
            continue
        arguments = measuring.model, measuring.data, measuring.metrics
        result = evaluator.evaluate(*arguments)
        for look in range(2, evaluator.looks(*arguments) + 1):
            if all(
                len(result.measures[n].items) >= len(after.measures[n].items) for n in names if n in result.measures
            ):
                break
            result = evaluator.look(look, *arguments, result)
        measures |= {
            n: first_items(result.measures[n], len(after.measures[n].items)) for n in names if n in result.measures
        }
    return measures
