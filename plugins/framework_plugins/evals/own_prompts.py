"""The prompts that a user gives to `evaluator=prompts`, in a file or inline."""

from __future__ import annotations

from framework.api import prompts
from framework.api.plan import Selection
from framework.api.records import Prompt
from framework.api.registry import components
from framework_plugins.evals.config import PromptsConfig


def own_prompts(config: PromptsConfig, form: Selection | None) -> list[Prompt]:
    """Return the user's prompts; none if neither a file nor texts are given. `form` is the format of the run.

    Raises:
        FrameworkError: the file cannot be read or holds no prompt, or a row is none.
    """
    if config.file is None and not config.prompts:
        return []
    if form is None:
        auto = components("format")[prompts.AUTO]
        form = Selection(auto, auto.schema())
    form = prompts.chosen(config.format, form)
    if config.file is not None:
        return prompts.from_file(config.file, form)
    return prompts.inline(config.prompts, form, "prompts")
