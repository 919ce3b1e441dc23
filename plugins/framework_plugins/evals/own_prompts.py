"""The prompts that a user gives to `evaluator=prompts`, in a file or inline."""

from __future__ import annotations

from framework import Selection
from framework.api import Prompt, components
from framework.api.program import AUTO, chosen_prompts, inline_prompts, prompts_from_file
from framework_plugins.evals.config import PromptsConfig


def own_prompts(config: PromptsConfig, form: Selection | None) -> list[Prompt]:
    """Return the user's prompts; none where neither a file nor texts are given. `form` is the format of the run.

    Raises:
        FrameworkError: the file cannot be read or holds no prompt, or a row is none.
    """
    if config.file is None and not config.prompts:
        return []
    if form is None:
        auto = components("format")[AUTO]
        form = Selection(auto, auto.schema())
    form = chosen_prompts(config.format, form)
    if config.file is not None:
        return prompts_from_file(config.file, form)
    return inline_prompts(config.prompts, form, "prompts")
