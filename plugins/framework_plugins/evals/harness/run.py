"""Tasks of lm-eval, loaded once and run on a model each time it is asked.

`lm_eval.simple_evaluate` would do both, but it sets the seeds of the whole process, asks git and the system about
themselves for two seconds, and loads the tasks again each time. What it does to a task before `evaluate` is done here.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from framework import FrameworkError
from framework.api import error_location, summarize_error
from framework_plugins.evals.harness.catalog import Catalog
from framework_plugins.evals.harness.data import data_root
from framework_plugins.evals.harness.model import HarnessModel

NO_MULTIPROCESSING = "DISABLE_MULTIPROC"
"""With this set, lm-eval draws its resamples in this process and forks no others beside a loaded model."""


@dataclass(frozen=True)
class RunSettings:
    """How tasks are run; see `LmEvalConfig`."""

    limit: float | None = None
    chat: bool = False
    multiturn: bool = True
    system_prompt: str | None = None
    resamples: int = 0


class LoadedTasks:
    """Tasks that are asked together.

    Args:
        names: of tasks, groups or tags, or YAML files.
        catalog: where they are found.
        num_fewshot: solved examples before each question; None leaves it to the task.
    """

    def __init__(self, names: Sequence[str], catalog: Catalog, num_fewshot: int | None = None) -> None:
        self.names = names
        self.catalog = catalog
        self.num_fewshot = num_fewshot

    @functools.cached_property
    def loaded(self) -> dict[str, Any]:
        """The tasks with their data, as lm-eval holds them.

        Raises:
            FrameworkError: one of them cannot be loaded.
        """
        registry: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
        for name in self.names:
            try:
                with quiet_lm_eval(), contextlib.chdir(data_root(self.catalog.tasks(name))):
                    loaded = self._manager.load([name])
            except Exception as error:
                raise FrameworkError(
                    f"lm_eval task '{name}' cannot be loaded: {summarize_error(error)}{error_location(error)}"
                ) from error
            for part in registry:
                registry[part] |= loaded.get(part, {})
        for task in registry["tasks"].values():
            if task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=self.num_fewshot or 0)
            elif self.num_fewshot is not None and task.get_config("num_fewshot") != 0:  # 0 means that it uses none
                task.set_config(key="num_fewshot", value=self.num_fewshot)
        return registry

    @functools.cached_property
    def _manager(self) -> TaskManager:
        """Know the folders that matter: lm-eval needs seconds to look through all of its own."""
        folders: dict[str, None] = {}
        for name in self.names:
            files = self.catalog.local.get(name) or self.catalog.installed.get(name, ())
            folders |= {str(file.parent): None for file in files}
            folders |= {str(task.file.resolve().parent): None for task in self.catalog.tasks(name)}
        with quiet_lm_eval():
            return TaskManager(include_path=list(folders), include_defaults=False)

    def run(self, model: HarnessModel, settings: RunSettings) -> Mapping[str, Any]:
        """Ask a model.

        Returns:
            The results of lm-eval: `results`, `groups`, `samples`, `higher_is_better` and the rest, by task.

        Raises:
            FrameworkError: a task cannot be run.
        """
        loaded = self.loaded
        for task in loaded["tasks"].values():
            task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)  # again, so that each evaluation draws the same examples
        try:
            with quiet_lm_eval():
                results: Mapping[str, Any] = evaluate(
                    lm=model,
                    task_dict=loaded,
                    limit=settings.limit,
                    bootstrap_iters=settings.resamples,
                    system_instruction=settings.system_prompt,
                    apply_chat_template=settings.chat,
                    fewshot_as_multiturn=settings.chat and settings.multiturn,
                )
        except FrameworkError:
            raise
        except Exception as error:
            raise FrameworkError(
                f"lm_eval tasks {', '.join(self.names)}: {summarize_error(error)}{error_location(error)}"
            ) from error
        return results


@contextlib.contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Let lm-eval do its work without telling each step, without other processes, and without drawn numbers.

    Its bars know no switch, and the name of a task takes a number from Python's generator each time it is asked.
    """
    random_state = random.getstate()
    logger = logging.getLogger("lm_eval")
    level, processes = logger.level, os.environ.get(NO_MULTIPROCESSING)
    logger.setLevel(logging.ERROR)
    os.environ[NO_MULTIPROCESSING] = "1"
    nowhere = io.StringIO()
    try:
        with contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
            yield
    finally:
        random.setstate(random_state)
        logger.setLevel(level)
        if processes is None:
            del os.environ[NO_MULTIPROCESSING]
        else:
            os.environ[NO_MULTIPROCESSING] = processes
