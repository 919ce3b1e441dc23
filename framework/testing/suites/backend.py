"""The suite of `trainer=`."""

from __future__ import annotations

import gc
import itertools
import math
import weakref
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from framework.api.data import Data
from framework.api.protocols import Model
from framework.api.records import IGNORE, Answer, Example, Message, Prompt, Step, StepControl
from framework.testing.protocols import lacks
from framework.testing.suites.base import expect, files
from framework.testing.suites.trained import Trained
from framework.util.errors import FrameworkError

EXAMPLES = [
    Example((Message("user", f"What is {n} and 1?"), Message("assistant", f"It is {n + 1}.")), "chatml", f"row {n}")
    for n in range(5)
]

STOP = 2
"""The step after which orders are given."""
REFUSED = "the suite ends this training"


class BackendSuite(Trained):
    """What every training backend has to do.

    Attributes:
        overrides: also a model that trains in a second, `model=local` with `model.path=` of a tiny one, and settings
            with which the loss of `rows` falls: `trainer.learning_rate=0.01`, `trainer.max_steps=8`.
        rows: Alpaca rows to train on.
        keeps_base: whether `as_base` gives the base after training too; False if all weights are trained.
        tolerance: how far two losses that should be the same may lie apart, as a share.
    """

    keeps_base: ClassVar[bool] = True

    def test_the_model_offers_what_the_protocol_asks_for_and_says_what_was_picked(self, tmp_path: Path) -> None:
        """All methods are there with their parameters; `facts` is not empty and is text."""
        with self.opened(tmp_path) as (model, _):
            problems = lacks(model, Model)
            facts: dict[Any, Any] = dict(model.facts)
        expect(not problems, f"the model {'; '.join(problems)}")
        texts = all(isinstance(text, str) and text for pair in facts.items() for text in pair)
        expect(facts and texts, f"facts says what was picked for this hardware, as text; it is {facts}")

    def test_the_rows_are_labelled_where_the_assistant_speaks(self, tmp_path: Path) -> None:
        """Ids and labels have one length, a label is -100 or the id, something is learned, and the order is kept."""
        with self.only_opened(tmp_path) as model:
            rows, again = model.encode(EXAMPLES), model.encode(EXAMPLES)
            turned = model.encode(EXAMPLES[::-1])
        expect([row.where for row in rows] == [example.where for example in EXAMPLES], "encode lost the order")
        for row in rows:
            expect(len(row.input_ids) == len(row.labels), f"{row.where}: ids and labels differ in length")
            pairs = zip(row.input_ids, row.labels, strict=True)
            expect(all(label in (IGNORE, token) for token, label in pairs), f"{row.where}: a label is not an id of its")
            expect(not row.problem, f"{row.where}: not proven: {row.problem}")
            expect(0 < row.supervised < len(row.labels), f"{row.where}: {row.supervised} of {len(row.labels)} learned")
        expect(rows == again, "encoding the same examples twice gives different rows")
        expect(rows == turned[::-1], "the rows depend on the order of the examples")

    def test_what_is_learned_can_be_read(self, tmp_path: Path) -> None:
        """`decode` gives the text of the learned tokens, the answer among it."""
        with self.only_opened(tmp_path) as model:
            rows = model.encode(EXAMPLES)
            texts: list[object] = [model.decode([token for token in row.labels if token != IGNORE]) for row in rows]
        for text, example in zip(texts, EXAMPLES, strict=True):
            answer = example.messages[-1].content
            right = isinstance(text, str) and answer in text
            expect(right, f"{example.where}: what is learned decodes to {text!r}, not to {answer!r}")

    def test_two_models_have_one_encoding_which_changes_with_what_is_learned(self, tmp_path: Path) -> None:
        """`encoding` is the same each time, empty if rows are not cached, and `data.learn` changes it."""
        names = []
        for overrides in ((), (), ("data.learn=last",)):
            with self.only_opened(tmp_path, *overrides) as model:
                names.append(model.encoding)
        expect(all(isinstance(name, str) for name in names), f"encoding is not text: {names}")
        expect(names[0] == names[1], f"encoding differs from one model to the next: {names[:2]}")
        expect(not names[0] or names[0] != names[2], "encoding is the same with data.learn=last")

    def test_the_answers_keep_the_order_and_the_limit(self, tmp_path: Path) -> None:
        """Prompts asked in another order get the same answers, and a limit of one token cuts a longer answer."""
        prompts = [Prompt(example.messages[:-1]) for example in EXAMPLES]
        with self.opened(tmp_path) as (model, _):
            long = model.generate(prompts, max_new_tokens=12, batch_size=2)
            turned = model.generate(prompts[::-1], max_new_tokens=12, batch_size=2)
            short = model.generate(prompts, max_new_tokens=1, batch_size=2)
        expect(len(long) == len(prompts), f"{len(prompts)} prompts have {len(long)} answers")
        expect(long == turned[::-1], f"the answers do not follow the prompts: {_texts(long)} and {_texts(turned)}")
        expect(all(answer.tokens <= 12 or not answer.stopped for answer in long), f"longer than 12 tokens: {long}")  # noqa: PLR2004 - as asked
        for long_answer, short_answer in zip(long, short, strict=True):
            right = long_answer.tokens <= 1 or (
                not short_answer.stopped and len(short_answer.text) < len(long_answer.text)
            )
            expect(right, f"max_new_tokens=1 gives {short_answer}, max_new_tokens=12 gives {long_answer}")

    def test_an_answer_streams_as_it_is_generated(self, tmp_path: Path) -> None:
        """Pieces make up what `generate` says, before and after training, and answers may be made in turns, or left."""
        with self.opened(tmp_path) as (model, data):
            for trained in (False, True):
                if trained:
                    self.train(model, data, tmp_path)
                prompts = list(data.prompts[:2])
                texts = _texts(model.generate(prompts, max_new_tokens=8, batch_size=1))
                stream = model.stream(prompts[0], max_new_tokens=8, seed=None)
                next(stream, None)
                del stream
                streams = [model.stream(prompt, max_new_tokens=8, seed=None) for prompt in prompts]
                turns = list(itertools.zip_longest(*streams, fillvalue=""))
                joined = ["".join(pieces) for pieces in zip(*turns, strict=True)]
                expect(joined == texts, f"generate says {texts}, and what is streamed is {joined}")
            samples = ["".join(model.stream(prompts[0], max_new_tokens=8, temperature=1.0, seed=7)) for _ in range(2)]
        expect(samples[0] == samples[1], f"one seed draws two answers: {samples}")

    def test_training_reports_each_step_and_lowers_the_loss(self, tmp_path: Path) -> None:
        """The loss is finite and falls, the steps count up to their total, and checkpoint and tokenizer are written."""
        with self.opened(tmp_path) as (model, data):
            before = model.loss(data.train)
            result, steps = self.train(model, data, tmp_path)
            after = model.loss(data.train)
            (tmp_path / "tokenizer").mkdir()
            model.save_tokenizer(tmp_path / "tokenizer")
        expect(math.isfinite(before) and math.isfinite(after), f"the loss is {before} before and {after} after")
        expect(after < before, f"training did not lower the loss: {before} before, {after} after")
        numbers = [step.step for step in steps]
        rising = all(earlier < later for earlier, later in itertools.pairwise(numbers))
        expect(numbers and rising and numbers[0] > 0, f"on_step counts {numbers}")
        totals = {step.total_steps for step in steps}
        expect(totals == {result.steps}, f"total_steps is {sorted(totals)}, {result.steps} steps were done")
        tokens = [step.tokens for step in steps]
        expect(tokens == sorted(tokens), f"the tokens since the start are {tokens}")
        expect(all(math.isfinite(step.loss) for step in steps), "a step has no finite loss")
        expect(numbers[-1] <= result.steps, f"on_step counts to {numbers[-1]}, {result.steps} steps were done")
        expect(result.tokens >= result.supervised_tokens > 0, f"tokens: {result}")
        expect(result.checkpoint == "checkpoint", f"TrainResult.checkpoint is {result.checkpoint}")
        expect(list(files(tmp_path / "run" / "checkpoint")), "train wrote no checkpoint")
        leftovers = [path.name for path in (tmp_path / "run").glob("*.part*")]
        expect(not leftovers, f"left behind: {leftovers}")
        expect(list(files(tmp_path / "tokenizer")), "save_tokenizer wrote nothing")

    def test_the_base_answers_as_before_inside_as_base(self, tmp_path: Path) -> None:
        """Loss and answers inside `as_base` are the base's, after training too where `keeps_base`; outside, not."""
        with self.opened(tmp_path) as (model, data):
            with model.as_base():
                before = self._seen(model, data)
            if self.keeps_base:
                self.train(model, data, tmp_path)
                with model.as_base():
                    inside = self._seen(model, data)
                outside = self._seen(model, data)
                expect(self._alike(before, inside), f"the base gave {before}, inside as_base it gives {inside}")
                expect(outside[0] < before[0], "outside as_base the training has no effect")
            else:
                expect(self._alike(before, self._seen(model, data)), "as_base changes a model that is not trained")

    def test_a_checkpoint_gives_the_same_model_in_a_new_process_of_the_backend(self, tmp_path: Path) -> None:
        """`restore` in a second `open` brings the loss and the answers of the trained model back."""
        with self.opened(tmp_path) as (model, data):
            self.train(model, data, tmp_path)
            trained = self._seen(model, data)
        with self.opened(tmp_path) as (model, data):
            base = self._seen(model, data)
            model.restore(tmp_path / "run" / "checkpoint")
            restored = self._seen(model, data)
        expect(self._alike(trained, restored), f"trained: {trained}, restored: {restored}")
        expect(not self.same(base[0], restored[0]), "restore changes nothing")

    def test_one_seed_gives_one_training_of_the_length_asked_for(self, tmp_path: Path) -> None:
        """Two trainings of two steps tell the same losses."""
        losses = []
        for name in ("one", "two"):
            with self.opened(tmp_path / name, "trainer.max_steps=2") as (model, data):
                result, steps = self.train(model, data, tmp_path / name)
                losses.append([*(step.loss for step in steps), model.loss(data.train)])
            expect(result.steps == 2, f"trainer.max_steps=2 made {result.steps} steps")  # noqa: PLR2004 - as asked
        right = len(losses[0]) == len(losses[1]) and all(map(self.same, *losses))
        expect(right, f"one seed gave the losses {losses[0]} and {losses[1]}")

    def test_accumulation_is_the_same_training_as_one_large_batch(self, tmp_path: Path) -> None:
        """Two steps of four rows have the same losses and gradients as 4 x 1, 2 x 2 and 1 x 4, and teach the same.

        A gradient is as long as its norm says, and points where the scores of all learned tokens go.
        """
        trainings = []
        for micro, accumulation in ((4, 1), (2, 2), (1, 4)):
            folder = tmp_path / str(micro)
            batch = f"trainer.per_device_train_batch_size={micro}"
            overrides = (batch, f"trainer.gradient_accumulation_steps={accumulation}", "trainer.max_steps=2")
            with self.opened(folder, *overrides) as (model, data):
                _, steps = self.train(model, data, folder)
                trainings.append(_course(model, data, steps))
        for quantity in trainings[0]:
            expect(
                len({len(training[quantity]) for training in trainings}) == 1,
                f"accumulation changes how many {quantity} there are",
            )
            for values in zip(*(training[quantity] for training in trainings), strict=True):
                right = all(self.same(value, values[0]) for value in values[1:])
                expect(right, f"accumulation changes the training: 4 x 1, 2 x 2 and 1 x 4 have the {quantity} {values}")

    def test_an_order_to_stop_is_obeyed_before_the_next_step(self, tmp_path: Path) -> None:
        """The training ends with the step of which `on_step` says so, and its weights are saved."""
        with self.opened(tmp_path) as (model, data):
            result, steps = self.train(
                model, data, tmp_path, lambda step: StepControl(stop="x" if step.step == STOP else "")
            )
        expect(result.steps == steps[-1].step == STOP, f"told to stop at step {STOP}, it made {result.steps} steps")
        expect(list(files(tmp_path / "run" / "checkpoint")), "train wrote no checkpoint")

    def test_an_order_to_change_the_rate_holds_for_all_steps_that_follow(self, tmp_path: Path) -> None:
        """From the next step on every learning rate is the one that it would have been times the factor."""
        rates = []
        for name, factor in (("plain", 1.0), ("lowered", 0.25)):
            with self.opened(tmp_path / name) as (model, data):
                change = partial(_at_stop, StepControl(rate=factor))
                rates.append([step.learning_rate for step in self.train(model, data, tmp_path / name, change)[1]])
        expected = [rate * (0.25 if step > STOP else 1) for step, rate in enumerate(rates[0], start=1)]
        right = len(rates[1]) == len(expected) and all(map(math.isclose, rates[1], expected))
        expect(right, f"lowered to a quarter after step {STOP}, the learning rates are {rates[1]}, without {rates[0]}")

    def test_weights_that_are_set_aside_are_those_that_are_trained(self, tmp_path: Path) -> None:
        """After an order to keep, the model at the end and its checkpoint are those of that step."""
        losses = []
        for name, order in (("stopped", StepControl(stop="x")), ("kept", StepControl(keep=True))):
            folder, ordered = tmp_path / name, partial(_at_stop, order)
            with self.opened(folder) as (model, data):
                self.train(model, data, folder, ordered)
                losses.append(model.loss(data.train))
            with self.opened(folder) as (model, data):
                model.restore(folder / "run" / "checkpoint")
                losses.append(model.loss(data.train))
        expect(self.same(losses[0], losses[2]), f"kept at step {STOP}: loss {losses[2]}, stopped there: {losses[0]}")
        expect(self.same(losses[2], losses[3]), f"kept: loss {losses[2]}, read from the checkpoint: {losses[3]}")

    def test_what_a_step_raises_ends_the_training_and_nothing_is_saved(self, tmp_path: Path) -> None:
        """A `FrameworkError` of `on_step` comes through, and neither checkpoint nor scratch is left."""
        with self.opened(tmp_path) as (model, data):
            try:
                self.train(model, data, tmp_path, _refuse)
            except FrameworkError as error:
                expect(str(error) == REFUSED, f"on_step raised {REFUSED!r}, and train raises {error}")
            else:
                raise AssertionError("on_step raised an error, and train continues")
        leftovers = [str(file.relative_to(tmp_path)) for file in files(tmp_path / "run")]
        expect(not leftovers, f"left behind: {leftovers}")

    def test_the_memory_is_free_after_open(self, tmp_path: Path) -> None:
        """Nothing holds the model once the context has ended, after a training."""
        with self.opened(tmp_path, "trainer.max_steps=1") as (model, data):
            self.train(model, data, tmp_path)
            model_ref = weakref.ref(model)
        del model, data
        gc.collect()
        expect(
            model_ref() is None, "the model is still held after open() has ended: by a cache, a callback or a closure?"
        )

    def _seen(self, model: Model, data: Data) -> tuple[float, list[str]]:
        """Return the loss of the rows, and the answers to three prompts."""
        prompts = list(data.prompts[:3])
        return model.loss(data.train), _texts(model.generate(prompts, max_new_tokens=8, batch_size=2))

    def _alike(self, left: tuple[float, list[str]], right: tuple[float, list[str]]) -> bool:
        return self.same(left[0], right[0]) and left[1] == right[1]


def _course(model: Model, data: Data, steps: list[Step]) -> dict[str, list[float]]:
    """Return the settings and the result of a training, in numbers."""
    return {
        "losses": [*(step.loss for step in steps), model.loss(data.train)],
        "gradient norms": [step.grad_norm for step in steps],
        "scores": [score for row in model.score(data.train) for score in row.log_probs],
    }


def _at_stop(order: StepControl, step: Step) -> StepControl | None:
    return order if step.step == STOP else None


def _refuse(step: Step) -> StepControl | None:
    if step.step == STOP:
        raise FrameworkError(REFUSED)
    return None


def _texts(answers: list[Answer]) -> list[str]:
    return [answer.text for answer in answers]
