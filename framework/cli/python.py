"""Runs from Python: `framework.train`, `framework.load_report` and `framework.load_model`."""

from __future__ import annotations

import contextlib
import numbers
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from framework.api.component import GROUPS
from framework.api.protocols import Model
from framework.api.records import Message, Prompt, Report
from framework.api.run_folder import REPORT
from framework.api.schema import Stage
from framework.api.text.overrides import as_overrides, override_key
from framework.cli.arguments import complete_overrides, readable
from framework.hooks.session import current
from framework.plan.load import load_plan, restored
from framework.run.launching import launched
from framework.rundir.read import read_run
from framework.util.errors import FrameworkError
from framework.util.guard import Caught, Guard, short_repr
from framework.util.redact import HIDDEN

PLAIN = (str, numbers.Real, Path, Enum, type(None))
"""What a setting may be, apart from lists and mappings."""
FORMS = "give a list of overrides, ['trainer.max_steps=20'], or a mapping, {'trainer.max_steps': 20}"
_composing = threading.RLock()
"""Hydra composes one config at a time."""

__all__ = ["TrainedModel", "load_model", "load_report", "train"]


def train(overrides: Sequence[str] | Mapping[str, Any] = ()) -> Report:
    """Run what `python -m framework OVERRIDES…` runs, in this process, and return its report.

        report = framework.train({"model": "smollm2_135m", "data": "local_file", "data.path": "my.jsonl"})

    It prints what the command prints; `"logger": []` makes it silent. Signals ask the run to end only if it is called
    from the main thread.

    Args:
        overrides: settings as on the command line, `["+experiment=quickstart", "trainer.max_steps=20"]`; or a mapping
            from keys to values, in which the settings of a group may also be a mapping of their own:
            `{"trainer": {"max_steps": 20}}`. Without an experiment, model or data, the run is the quickstart.

    Raises:
        FrameworkError: a setting is wrong, the data are, or the run cannot work here; nothing is written then.
        KeyboardInterrupt: a signal ended the run, which `python -m framework resume` continues.
    """
    words = words_of(overrides)
    with current():
        with _composing:
            words = complete_overrides(words)
            plan = load_plan(words)
        if Stage.report not in plan.stages:
            (with_report,) = as_overrides({"stages": [*plan.stages, Stage.report]})
            raise FrameworkError(f"train returns the report, which these stages do not make: set {with_report}")
        if reason := plan.launch.config.unreported():
            raise FrameworkError(f"train returns the report, but {reason}: start the run with python -m framework")
        report = launched(plan)
    return report or load_report(plan.run_dir)  # a launcher may have no report of its own


def load_report(folder: str | os.PathLike[str]) -> Report:
    """Return the report of a run folder, `report.json`.

    Raises:
        FrameworkError: there is no such run, it has no report, or its report cannot be read.
    """
    run = read_run(_folder(folder))
    report = run.record(Report, REPORT)
    if report is None:
        raise FrameworkError(f"{run.folder} holds no {REPORT}: the run has not come to its end")
    return report


class TrainedModel:
    """The model of a run with its trained weights; made by `load_model`."""

    def __init__(self, model: Model, system_prompt: str) -> None:
        self._model = model
        self._system_prompt = system_prompt
        self._asking = threading.RLock()

    def answer(
        self, prompts: Sequence[str], *, max_new_tokens: int = 512, system_prompt: str | None = None
    ) -> list[str]:
        """Answer each prompt greedily.

        Args:
            prompts: what the user says, each in a conversation of its own.
            max_new_tokens: most tokens of an answer.
            system_prompt: None is the one that most training rows had; an empty text is none.

        Raises:
            FrameworkError: the prompts are one text, or the system prompt of the training holds a secret, which a run
                does not save.
        """
        if isinstance(prompts, str):
            raise FrameworkError(f"answer({prompts!r}): give a list of prompts, [{prompts!r}]")
        if not isinstance(prompts, Iterable) or isinstance(prompts, bytes | Mapping):
            raise FrameworkError(f"answer({short_repr(prompts)}): give a list of prompts, such as ['Where is it?']")
        with Guard(f"answer({short_repr(prompts)}): give a list of prompts, such as ['Where is it?']"):
            prompts = list(prompts)
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise FrameworkError(f"answer([{short_repr(prompt)}]): a prompt is a text, such as 'Where is it?'")
        if not isinstance(max_new_tokens, int) or isinstance(max_new_tokens, bool) or max_new_tokens < 1:
            raise FrameworkError(f"answer(max_new_tokens={short_repr(max_new_tokens)}): give a whole number above 0")
        if not isinstance(system_prompt, str | None):
            raise FrameworkError(f"answer(system_prompt={short_repr(system_prompt)}): give a text, or None")
        system = self._system_prompt if system_prompt is None else system_prompt
        if system_prompt is None and HIDDEN in system:
            raise FrameworkError(
                "the system prompt of the training holds a secret and was not saved: give system_prompt"
            )
        system_turns = (Message("system", system),) if system else ()
        conversations = [Prompt((*system_turns, Message("user", text))) for text in prompts]
        with self._asking:  # other threads may ask, too
            at_once = self._model.answers_at_once
            answers = self._model.generate(conversations, max_new_tokens=max_new_tokens, batch_size=at_once)
        return [answer.text for answer in answers]

    def as_base(self) -> AbstractContextManager[None]:
        """Let the model answer as its base within a context.

        Raises:
            FrameworkError: the run trained all weights, so the base is gone.
        """
        return self._model.as_base()


@contextmanager
def load_model(
    folder: str | os.PathLike[str], overrides: Sequence[str] | Mapping[str, Any] = ()
) -> Iterator[TrainedModel]:
    """Open the model of a run with its trained weights, and free it at the end.

        with framework.load_model(report.run_dir) as model:
            print(model.answer(["Where is my order?"]))

    Args:
        folder: the folder of the run.
        overrides: settings to change from those of the run, `["trainer.device=cpu"]`.

    Raises:
        FrameworkError: the run has no trained weights, or its model is not available.
    """
    words = words_of(overrides)
    run = read_run(_folder(folder))
    with contextlib.ExitStack() as stack:
        # A run is opened from the folder where it was started, which is that of all threads.
        with _composing, contextlib.chdir(Path.cwd()):
            stack.enter_context(current())
            _, model = stack.enter_context(restored(run, words))
        yield TrainedModel(model, run.system_prompt())


def words_of(overrides: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return settings as the words of a command line.

    Raises:
        FrameworkError: one of them is not a setting, or two set the same key.
    """
    if isinstance(overrides, str):
        raise FrameworkError(f"{overrides!r}: give a list of overrides, [{overrides!r}], or a mapping")
    if isinstance(overrides, Mapping):
        _check_values("the settings", overrides)
        word_by_key: dict[str, str] = {}
        words = []
        for key, value in _flat(overrides):
            (word,) = as_overrides({key: value})
            if (previous := word_by_key.setdefault(override_key(key), word)) is not word:
                raise FrameworkError(f"{previous} and {word} set the same key: give it once")
            words.append(word)
    elif isinstance(overrides, Iterable) and not isinstance(overrides, bytes | bytearray):
        with Guard(f"{short_repr(overrides)}: {FORMS}"):
            words = list(overrides)
    else:
        raise FrameworkError(f"{short_repr(overrides)}: {FORMS}")
    for word in words:
        if not isinstance(word, str):
            raise FrameworkError(f"{short_repr(word)} is not an override such as 'trainer.max_steps=20': {FORMS}")
        if "=" not in word and not word.startswith("~"):
            raise FrameworkError(f"'{word}' is not an override such as trainer.max_steps=20")
    return readable(words)


def _check_values(name: str, value: object, around: tuple[int, ...] = ()) -> None:
    """Refuse what cannot be typed on a command line."""
    if id(value) in around:
        raise FrameworkError(f"{name} holds itself: give plain values")
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                raise FrameworkError(f"{name}: the key {short_repr(key)} is not a text such as 'trainer.max_steps'")
            _check_values(key, part, (*around, id(value)))
    elif isinstance(value, list | tuple):
        for part in value:
            _check_values(name, part, (*around, id(value)))
    elif not isinstance(value, PLAIN):
        kind = type(value).__name__
        raise FrameworkError(
            f"{name}={short_repr(value)} is of the type {kind}: give a number, a text, a path, True or False, None, a "
            "list, or a mapping"
        )


def _folder(folder: str | os.PathLike[str]) -> str:
    """Return the folder of a run as a text.

    Raises:
        FrameworkError: it is something else.
    """
    with Caught():
        if isinstance(path := os.fspath(folder), str):
            return path
    raise FrameworkError(f"{short_repr(folder)} is not the folder of a run: give a text or a path")


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield settings with their whole keys: those of a group may be a mapping, and those of its options too."""
    for key, value in settings.items():
        group = GROUPS.get(key.partition(".")[0])
        depth = 1 + bool(group and group.several)
        if group and isinstance(value, Mapping) and key.count(".") < depth:
            yield from _flat({f"{key}.{name}": part for name, part in value.items()})
        else:
            yield key, value
