"""Runs from Python: `framework.train`, `framework.load_report` and `framework.load_model`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from framework.api.component import GROUPS
from framework.api.protocols import Launcher, Model
from framework.api.records import Message, Prompt, Report
from framework.api.run_folder import REPORT
from framework.api.schema import Stage
from framework.api.text.overrides import as_overrides
from framework.cli.arguments import complete_overrides
from framework.hooks.session import current
from framework.plan.load import load_plan, restored
from framework.rundir.folder import locked
from framework.rundir.read import read_run
from framework.util.errors import FrameworkError
from framework.util.redact import HIDDEN

__all__ = ["TrainedModel", "load_model", "load_report", "train"]


def train(overrides: Sequence[str] | Mapping[str, Any] = ()) -> Report:
    """Run what `python -m framework OVERRIDES…` runs, in this process, and return its report.

        report = framework.train({"model": "smollm2_135m", "data": "local_file", "data.path": "my.jsonl"})

    Call it from the main thread. It prints what the command prints; `"logger": []` makes it silent.

    Args:
        overrides: settings as on the command line, `["+experiment=quickstart", "trainer.max_steps=20"]`; or a mapping
            from keys to values, in which the settings of a group may also be a mapping of their own:
            `{"trainer": {"max_steps": 20}}`. Without an experiment, model or data, the run is the quickstart.

    Raises:
        FrameworkError: a setting is wrong, the data are, or the run cannot work here; nothing is written then.
        KeyboardInterrupt: a signal ended the run, which `python -m framework resume` continues.
    """
    with current():
        words = complete_overrides(words_of(overrides))
        plan = load_plan(words)
        if Stage.report not in plan.stages:
            (with_report,) = as_overrides({"stages": [*plan.stages, Stage.report]})
            raise FrameworkError(f"train returns the report, which these stages do not make: set {with_report}")
        if reason := plan.launch.config.unreported():
            raise FrameworkError(f"train returns the report, but {reason}: start the run with python -m framework")
        launcher: Launcher = plan.launch.create()
        with locked(plan.run_dir):
            report = launcher.launch(plan)
    return report or load_report(plan.run_dir)  # a launcher may have no report of its own


def load_report(folder: str | os.PathLike[str]) -> Report:
    """Return the report of a run folder, `report.json`.

    Raises:
        FrameworkError: there is no such run, it has no report, or its report cannot be read.
    """
    run = read_run(os.fspath(folder))
    report = run.record(Report, REPORT)
    if report is None:
        raise FrameworkError(f"{run.folder} holds no {REPORT}: the run has not come to its end")
    return report


class TrainedModel:
    """The model of a run with its trained weights; made by `load_model`."""

    def __init__(self, model: Model, system_prompt: str) -> None:
        self._model = model
        self._system_prompt = system_prompt

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
        system = self._system_prompt if system_prompt is None else system_prompt
        if system_prompt is None and HIDDEN in system:
            raise FrameworkError(
                "the system prompt of the training holds a secret and was not saved: give system_prompt"
            )
        first = (Message("system", system),) if system else ()
        asked = [Prompt((*first, Message("user", text))) for text in prompts]
        return [answer.text for answer in self._model.generate(asked, max_new_tokens=max_new_tokens, batch_size=8)]

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
    run = read_run(os.fspath(folder))
    with contextlib.ExitStack() as stack:
        with contextlib.chdir(Path.cwd()):  # a run is opened from the folder where it was started
            stack.enter_context(current())
            _, model = stack.enter_context(restored(run, words))
        yield TrainedModel(model, run.system_prompt())


def words_of(overrides: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return settings as the words of a command line.

    Raises:
        FrameworkError: one of them is not a setting.
    """
    if isinstance(overrides, str):
        raise FrameworkError(f"{overrides!r}: give a list of overrides, [{overrides!r}], or a mapping")
    words = as_overrides(dict(_flat(overrides))) if isinstance(overrides, Mapping) else list(overrides)
    for word in words:
        if "=" not in word and not word.startswith("~"):
            raise FrameworkError(f"'{word}' is not an override such as trainer.max_steps=20")
    return words


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield settings with their whole keys: those of a group may be a mapping, and those of its options too."""
    for key, value in settings.items():
        group = GROUPS.get(key.partition(".")[0])
        depth = 1 + bool(group and group.several)
        if group and isinstance(value, Mapping) and key.count(".") < depth:
            yield from _flat({f"{key}.{name}": part for name, part in value.items()})
        else:
            yield key, value
