"""For authors of data sources, formats, metrics, evaluators, audits, exporters, loggers and diagnostics.

    from framework.api import AnswerMetric, MetricConfig, Scores

Authors of trainers and models need `framework.api.training` too, authors of commands and launchers
`framework.api.program`; everybody has `framework` itself (`Component`, `hookimpl`, `Plan`, `FrameworkError`). Any other
module below `framework` is private.

Errors that are shown as text, never as a traceback; raise `FrameworkError` for what a user can fix. A message names the
place, the value, the valid choices and the fix, in one or two lines.

    FrameworkError                exit code 2
    ├── DoesNotFitError           the run needs more memory than there is; a sweep passes over the trial
    └── PrunedError               a sweep prunes the trial; it has not failed
    KeyboardInterrupt
    └── Interrupted               a signal has asked the run to end; exit code 128 and the signal's number

Imports: `memory` and `util`; only `program` and `registry` look up; nothing in the core imports those two.
Start with `component.py`, then `schema.py`, `plan.py` and `protocols/`.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from framework.api import rewarding, scoring
from framework.api.audit import AuditData, RowPart, Texts
from framework.api.data import Data
from framework.api.diagnostic import Diagnostic, DiagnosticResult, State
from framework.api.events import (
    Event,
    ForecastUpdated,
    IssueFound,
    ProgressMade,
    RunFailed,
    RunFinished,
    RunPlanned,
    RunStarted,
    StageFinished,
    StageStarted,
    TrainingStep,
)
from framework.api.fields import NamesCode, OrWord, fields
from framework.api.problem import Problem
from framework.api.protocols import (
    AnswerMetric,
    AnyMetric,
    Audit,
    Evaluator,
    ExportContext,
    Exporter,
    Feature,
    Formatter,
    Logger,
    Metric,
    Model,
    Reward,
    RewardContext,
    Source,
)
from framework.api.records import (
    Answer,
    Answered,
    Artifact,
    Aspect,
    Change,
    Concern,
    DataResult,
    EvalResult,
    Example,
    ExpertUse,
    ExportNeed,
    ExportResult,
    Finding,
    Forecast,
    Measure,
    MeasureKind,
    Message,
    Outcome,
    Progress,
    Prompt,
    RawData,
    Report,
    Results,
    RewardRise,
    Rewards,
    Row,
    Sample,
    Scored,
    Scores,
    Severity,
    Step,
    Sweep,
    ToolCall,
    TrainingIssue,
    TrainResult,
    Trial,
    Verdict,
    ViewedRow,
    Work,
)
from framework.api.reward_functions import FunctionReward
from framework.api.run_folder import RunFolder, SavedRun
from framework.api.schema import (
    Action,
    Affects,
    AuditConfig,
    DataConfig,
    EvaluatorConfig,
    ExporterConfig,
    FormatConfig,
    Learn,
    LoggerConfig,
    MetricConfig,
    Overflow,
    RewardConfig,
    plain_name,
)
from framework.api.selection import as_plain
from framework.api.text import (
    HIDDEN,
    as_text,
    count,
    display_path,
    display_run,
    error_location,
    hide,
    nearest,
    number,
    override_key,
    redact,
    summarize_error,
    unknown,
    visible,
)
from framework.util.cache import cache_dir, read_json, write_json
from framework.util.errors import PrunedError, is_out_of_memory, message_of
from framework.util.files import atomic_folder, describe_room, write_atomically, write_failure
from framework.util.gpus import Gpu
from framework.util.guard import Caught, Guard, short_repr, try_out
from framework.util.hashing import key_of
from framework.util.host import GIB
from framework.util.host import memory as host_memory
from framework.util.nested import nested_values
from framework.util.process import ProcessError, PythonProcess
from framework.util.requirements import missing, pip_command
from framework.util.shares import least_share
from framework.util.versions import installed

if TYPE_CHECKING:
    from framework.api import similarity
    from framework.api.registry import Counter, counting, plugins

__all__ = [
    "GIB",
    "HIDDEN",
    "Action",
    "Affects",
    "Answer",
    "AnswerMetric",
    "Answered",
    "AnyMetric",
    "Artifact",
    "Aspect",
    "Audit",
    "AuditConfig",
    "AuditData",
    "Caught",
    "Change",
    "Concern",
    "Counter",
    "Data",
    "DataConfig",
    "DataResult",
    "Diagnostic",
    "DiagnosticResult",
    "EvalResult",
    "Evaluator",
    "EvaluatorConfig",
    "Event",
    "Example",
    "ExpertUse",
    "ExportContext",
    "ExportNeed",
    "ExportResult",
    "Exporter",
    "ExporterConfig",
    "Feature",
    "Finding",
    "Forecast",
    "ForecastUpdated",
    "FormatConfig",
    "Formatter",
    "FunctionReward",
    "Gpu",
    "Guard",
    "IssueFound",
    "Learn",
    "Logger",
    "LoggerConfig",
    "Measure",
    "MeasureKind",
    "Message",
    "Metric",
    "MetricConfig",
    "Model",
    "NamesCode",
    "OrWord",
    "Outcome",
    "Overflow",
    "Problem",
    "ProcessError",
    "Progress",
    "ProgressMade",
    "Prompt",
    "PrunedError",
    "PythonProcess",
    "RawData",
    "Report",
    "Results",
    "Reward",
    "RewardConfig",
    "RewardContext",
    "RewardRise",
    "Rewards",
    "Row",
    "RowPart",
    "RunFailed",
    "RunFinished",
    "RunFolder",
    "RunPlanned",
    "RunStarted",
    "Sample",
    "SavedRun",
    "Scored",
    "Scores",
    "Severity",
    "Source",
    "StageFinished",
    "StageStarted",
    "State",
    "Step",
    "Sweep",
    "Texts",
    "ToolCall",
    "TrainResult",
    "TrainingIssue",
    "TrainingStep",
    "Trial",
    "Verdict",
    "ViewedRow",
    "Work",
    "as_plain",
    "as_text",
    "atomic_folder",
    "cache_dir",
    "count",
    "counting",
    "describe_room",
    "display_path",
    "display_run",
    "error_location",
    "fields",
    "hide",
    "host_memory",
    "installed",
    "is_out_of_memory",
    "key_of",
    "least_share",
    "message_of",
    "missing",
    "nearest",
    "nested_values",
    "number",
    "override_key",
    "pip_command",
    "plain_name",
    "plugins",
    "read_json",
    "redact",
    "rewarding",
    "scoring",
    "short_repr",
    "similarity",
    "summarize_error",
    "try_out",
    "unknown",
    "visible",
    "write_atomically",
    "write_failure",
    "write_json",
]


def __getattr__(name: str) -> _Any:
    # The hooks' room is above this one, and the comparison of texts imports numpy, which most commands do without.
    if name == "similarity":
        return _import_module("framework.api.similarity")
    if name in {"Counter", "counting", "plugins"}:
        return getattr(_import_module("framework.api.registry"), name)
    raise AttributeError(f"module 'framework.api' has no attribute '{name}'")
