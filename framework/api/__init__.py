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
from framework.api.audit import (
    AuditData,
    RowPart,
    Texts,
)
from framework.api.auto_class import auto_class, published_class
from framework.api.conversations import (
    BEGIN_CALL,
    split_thought,
    without_thought,
)
from framework.api.data import (
    Data,
)
from framework.api.diagnostic import (
    Diagnostic,
    DiagnosticResult,
    State,
)
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
from framework.api.fields import (
    NamesCode,
    OrWord,
    fields,
)
from framework.api.plan import CHECKPOINT, CODE_OF, EVAL_LOSS, LOSSES, PRIMARY, SCORE, VS_RANDOM, WINS
from framework.api.problem import Problem
from framework.api.protocols import (
    AnswerMetric,
    AnyMetric,
    AsksPrompts,
    Audit,
    CheckedExporter,
    CheckedSource,
    CleaningAudit,
    ComparingMetric,
    CompositeFormatter,
    EarlyMetric,
    Evaluator,
    ExportContext,
    Exporter,
    FallbackFormatter,
    Formatter,
    Logger,
    LooksInStages,
    Metric,
    MetricWithKind,
    MetricWithUnit,
    Model,
    OrderedExporter,
    ReusableExporter,
    Reward,
    RewardContext,
    Source,
)
from framework.api.records import (
    Ancestor,
    Answer,
    Answered,
    Artifact,
    Aspect,
    Change,
    Concern,
    DataResult,
    EvalResult,
    Example,
    ExportNeed,
    ExportResult,
    Finding,
    FitStatus,
    Forecast,
    Lead,
    Lengths,
    Measure,
    MeasureKind,
    Message,
    Outcome,
    Piece,
    Point,
    Progress,
    Prompt,
    Ranking,
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
    Standing,
    Step,
    Sweep,
    Tone,
    ToolCall,
    TrainingIssue,
    TrainResult,
    Trial,
    Verdict,
    ViewedRow,
    Work,
)
from framework.api.reward_functions import (
    FunctionReward,
)
from framework.api.run_folder import (
    RunFolder,
    SavedRun,
)
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
    difference,
    display_path,
    display_run,
    error_location,
    hide,
    model_name,
    nearest,
    number,
    outcome_text,
    override_key,
    redact,
    share,
    shell_word,
    summarize_error,
    unknown,
    visible,
)
from framework.util.cache import (
    cache_dir,
    read_json,
    write_json,
)
from framework.util.errors import (
    PrunedError,
    is_out_of_memory,
    message_of,
)
from framework.util.files import (
    atomic_folder,
    describe_room,
    refuse_links,
    write_atomically,
    write_failure,
)
from framework.util.gpus import (
    Gpu,
)
from framework.util.gpus import (
    count as gpu_count,
)
from framework.util.guard import (
    Caught,
    Guard,
    short_repr,
    try_out,
)
from framework.util.hashing import (
    key_of,
)
from framework.util.host import (
    GIB,
    HostMemory,
)
from framework.util.host import (
    cores as cpu_cores,
)
from framework.util.host import (
    memory as host_memory,
)
from framework.util.host import (
    threads as cpu_threads,
)
from framework.util.nested import (
    nested_values,
)
from framework.util.network import (
    reachable,
)
from framework.util.process import (
    ProcessError,
    PythonProcess,
)
from framework.util.requirements import (
    missing,
    pip_command,
)
from framework.util.versions import (
    installed,
)

if TYPE_CHECKING:
    from framework.api.registry import components, counting, skip_plugin
    from framework.util.minhash import SIMILARITY
    from framework.util.minhash import group as group_similar
    from framework.util.text_features import WORD, as_read, common_features, features, similarities

__all__ = [
    "BEGIN_CALL",
    "CHECKPOINT",
    "CODE_OF",
    "EVAL_LOSS",
    "GIB",
    "HIDDEN",
    "LOSSES",
    "PRIMARY",
    "SCORE",
    "SIMILARITY",
    "VS_RANDOM",
    "WINS",
    "WORD",
    "Action",
    "Affects",
    "Ancestor",
    "Answer",
    "AnswerMetric",
    "Answered",
    "AnyMetric",
    "Artifact",
    "AsksPrompts",
    "Aspect",
    "Audit",
    "AuditConfig",
    "AuditData",
    "Caught",
    "Change",
    "CheckedExporter",
    "CheckedSource",
    "CleaningAudit",
    "ComparingMetric",
    "CompositeFormatter",
    "Concern",
    "Data",
    "DataConfig",
    "DataResult",
    "Diagnostic",
    "DiagnosticResult",
    "EarlyMetric",
    "EvalResult",
    "Evaluator",
    "EvaluatorConfig",
    "Event",
    "Example",
    "ExportContext",
    "ExportNeed",
    "ExportResult",
    "Exporter",
    "ExporterConfig",
    "FallbackFormatter",
    "Finding",
    "FitStatus",
    "Forecast",
    "ForecastUpdated",
    "FormatConfig",
    "Formatter",
    "FunctionReward",
    "Gpu",
    "Guard",
    "HostMemory",
    "IssueFound",
    "Lead",
    "Learn",
    "Lengths",
    "Logger",
    "LoggerConfig",
    "LooksInStages",
    "Measure",
    "MeasureKind",
    "Message",
    "Metric",
    "MetricConfig",
    "MetricWithKind",
    "MetricWithUnit",
    "Model",
    "NamesCode",
    "OrWord",
    "OrderedExporter",
    "Outcome",
    "Overflow",
    "Piece",
    "Point",
    "Problem",
    "ProcessError",
    "Progress",
    "ProgressMade",
    "Prompt",
    "PrunedError",
    "PythonProcess",
    "Ranking",
    "RawData",
    "Report",
    "Results",
    "ReusableExporter",
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
    "Standing",
    "State",
    "Step",
    "Sweep",
    "Texts",
    "Tone",
    "ToolCall",
    "TrainResult",
    "TrainingIssue",
    "TrainingStep",
    "Trial",
    "Verdict",
    "ViewedRow",
    "Work",
    "as_plain",
    "as_read",
    "as_text",
    "atomic_folder",
    "auto_class",
    "cache_dir",
    "common_features",
    "components",
    "count",
    "counting",
    "cpu_cores",
    "cpu_threads",
    "describe_room",
    "difference",
    "display_path",
    "display_run",
    "error_location",
    "features",
    "fields",
    "gpu_count",
    "group_similar",
    "hide",
    "host_memory",
    "installed",
    "is_out_of_memory",
    "key_of",
    "message_of",
    "missing",
    "model_name",
    "nearest",
    "nested_values",
    "number",
    "outcome_text",
    "override_key",
    "pip_command",
    "plain_name",
    "published_class",
    "reachable",
    "read_json",
    "redact",
    "refuse_links",
    "rewarding",
    "scoring",
    "share",
    "shell_word",
    "short_repr",
    "similarities",
    "skip_plugin",
    "split_thought",
    "summarize_error",
    "try_out",
    "unknown",
    "visible",
    "without_thought",
    "write_atomically",
    "write_failure",
    "write_json",
]

# The hooks' room is above this one, and the texts' features import numpy, which most commands do without.
_LATER = {
    **dict.fromkeys(("components", "counting", "skip_plugin"), "framework.api.registry"),
    **dict.fromkeys(("SIMILARITY", "group_similar"), "framework.util.minhash"),
    **dict.fromkeys(("WORD", "as_read", "common_features", "features", "similarities"), "framework.util.text_features"),
}


def __getattr__(name: str) -> _Any:
    if name not in _LATER:
        raise AttributeError(f"module 'framework.api' has no attribute '{name}'")
    return getattr(_import_module(_LATER[name]), "group" if name == "group_similar" else name)
