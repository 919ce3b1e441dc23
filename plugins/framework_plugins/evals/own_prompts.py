"""The prompts that a user gives to `evaluator=prompts`, in a file or inline."""

from __future__ import annotations

from framework import Selection
from framework.api import Prompt
from framework.api.program import read_prompts
from framework_plugins.evals.config import PromptsConfig


def own_prompts(config: PromptsConfig, form: Selection | None) -> list[Prompt]:
    """Return the user's prompts; empty if neither a file nor texts are given. `form` is the format of the run.

    Raises:
        FrameworkError: the file cannot be read or holds no prompt, or a row is none.
    """
    return read_prompts(config.file, config.prompts, "prompts", form=form, name=config.format)
