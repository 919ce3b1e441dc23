"""`evaluator=lm_eval`: any task that lm-eval knows, or one of the user's own, base and tuned through one model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE
from huggingface_hub.constants import HF_HUB_CACHE as CACHE

from framework import FrameworkError
from framework.api import AnyMetric, Data, EvalResult, Evaluator, Model
from framework_plugins.evals.config import LmEvalConfig
from framework_plugins.evals.harness.catalog import Catalog
from framework_plugins.evals.harness.data import hub_id
from framework_plugins.evals.harness.measures import result
from framework_plugins.evals.harness.model import HarnessModel
from framework_plugins.evals.harness.names import task_folders
from framework_plugins.evals.harness.run import LoadedTasks, RunSettings
from framework_plugins.lib.network import reachable


class LmEval(Evaluator):
    """Tasks of lm-eval before and after. Whether their data are available is checked first, before a weight is read."""

    def __init__(self, config: LmEvalConfig) -> None:
        self.config = config
        self.catalog = Catalog(task_folders(config.include_path))
        self.names = self.catalog.expand(config.tasks)
        self._check_data()

    def _check_data(self) -> None:
        """See whether the data sets of the Hub are here, or the Hub can be reached.

        Raises:
            FrameworkError: neither.
        """
        for name in self.names:
            for task in self.catalog.tasks(name):
                path = hub_id(task)
                if path is None or _is_cached(path) or (not HF_HUB_OFFLINE and reachable(ENDPOINT)):
                    continue
                why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "the Hub cannot be reached"
                raise FrameworkError(
                    f"evaluator.lm_eval.tasks: '{task.name}' needs the data set {path}, which is not in the cache, "
                    f"and {why}: run it once online, or give a task with own files, evaluator.lm_eval.include_path"
                )

    @functools.cached_property
    def _loaded_tasks(self) -> LoadedTasks:
        return LoadedTasks(self.names, self.catalog, self.config.num_fewshot)

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:  # noqa: ARG002 - the protocol's signature
        """Run the tasks; the metrics are their own."""
        settings = self.config
        run_settings = RunSettings(
            limit=settings.limit,
            chat=settings.apply_chat_template,
            multiturn=settings.fewshot_as_multiturn,
            system_prompt=settings.system_instruction,
            resamples=settings.bootstrap_iters,
        )
        answering = HarnessModel(model)
        return result(self._loaded_tasks.run(answering, run_settings), settings.aspect, answering, settings.samples)


def _is_cached(path: str) -> bool:
    """Whether a data set was loaded here before, by huggingface_hub's cache or as `datasets` has written it."""
    from datasets import config  # noqa: PLC0415 - half a second, for those whose tasks need the Hub

    local = Path(config.HF_DATASETS_CACHE, path.replace("/", "___").lower())
    return Path(CACHE, f"datasets--{path.replace('/', '--')}").is_dir() or local.is_dir()
