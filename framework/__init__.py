"""framework: fine-tune a model you can measure, on one GPU or a CPU.

`python -m framework --help` lists every option; `docs/explanation/architecture.md` shows how the parts fit together.
"""

from importlib.metadata import PackageNotFoundError, version

from framework.util.this_python import end_where_it_cannot

end_where_it_cannot()  # before anything else is imported that may not be there

from framework.api.component import Component
from framework.api.markers import hookimpl
from framework.api.plan import Plan, Selection
from framework.api.schema import Stage
from framework.hooks.decorators import exporter, formatter, metric
from framework.util.errors import FrameworkError

try:
    __version__ = version("framework")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "Component",
    "FrameworkError",
    "Plan",
    "Selection",
    "Stage",
    "__version__",
    "exporter",
    "formatter",
    "hookimpl",
    "metric",
]
