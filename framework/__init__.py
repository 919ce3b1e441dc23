"""framework: fine-tune a model you can measure, on one GPU or a CPU.

`python -m framework --help` lists every option; `docs/explanation/architecture.md` shows how the parts fit together.
"""

from typing import TYPE_CHECKING
from typing import Any as _Any

from framework.util.this_python import end_where_it_cannot

end_where_it_cannot()  # before anything else is imported that may not be there

from framework.api.component import Component, hookimpl
from framework.api.plan import Plan
from framework.api.schema import Stage
from framework.api.selection import Selection
from framework.hooks.decorators import exporter, formatter, metric
from framework.hooks.rewards import reward
from framework.hooks.training_decorators import callback, loss, method, optimizer, sampler, schedule
from framework.util.errors import FrameworkError
from framework.util.versions import VERSION as __version__  # noqa: N811 - the name that Python has for it

if TYPE_CHECKING:
    from framework.cli.python import load_model, load_report, train

__all__ = [
    "Component",
    "FrameworkError",
    "Plan",
    "Selection",
    "Stage",
    "__version__",
    "callback",
    "exporter",
    "formatter",
    "hookimpl",
    "load_model",
    "load_report",
    "loss",
    "method",
    "metric",
    "optimizer",
    "reward",
    "sampler",
    "schedule",
    "train",
]


def __getattr__(name: str) -> _Any:
    # What starts a run imports Hydra, which a plugin, a worker and most commands do without.
    if name not in {"load_model", "load_report", "train"}:
        raise AttributeError(f"module 'framework' has no attribute '{name}'")
    from framework.cli import python  # noqa: PLC0415

    return getattr(python, name)
