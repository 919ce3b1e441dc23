"""What the code behind each option must provide. A factory named by a `Component` is called with the option's config.

The protocols say what is called, in which order, and what it may raise. `FrameworkError` is for what a user can fix.
"""

from framework.api.protocols.evaluation import (
    AnswerMetric,
    AnyMetric,
    AsksPrompts,
    Audit,
    CleaningAudit,
    ComparingMetric,
    EarlyMetric,
    Evaluator,
    LooksInStages,
    Metric,
    MetricWithKind,
    MetricWithUnit,
)
from framework.api.protocols.exports import CheckedExporter, ExportContext, Exporter, OrderedExporter, ReusableExporter
from framework.api.protocols.model import (
    Backend,
    KeepsCheckpoints,
    LimitsLength,
    Model,
    RemoteTrainer,
    SharesBase,
    SupportsDistributed,
    TrainRun,
)
from framework.api.protocols.observers import Logger, TrainingMonitor
from framework.api.protocols.program import Command, Launcher, Speaker, SpeakerSource
from framework.api.protocols.sources import (
    Adapter,
    CheckedSource,
    CompositeFormatter,
    CountedModelSource,
    FallbackFormatter,
    Formatter,
    ModelPlace,
    ModelSource,
    Quantization,
    Source,
)

__all__ = [
    "Adapter",
    "AnswerMetric",
    "AnyMetric",
    "AsksPrompts",
    "Audit",
    "Backend",
    "CheckedExporter",
    "CheckedSource",
    "CleaningAudit",
    "Command",
    "ComparingMetric",
    "CompositeFormatter",
    "CountedModelSource",
    "EarlyMetric",
    "Evaluator",
    "ExportContext",
    "Exporter",
    "FallbackFormatter",
    "Formatter",
    "KeepsCheckpoints",
    "Launcher",
    "LimitsLength",
    "Logger",
    "LooksInStages",
    "Metric",
    "MetricWithKind",
    "MetricWithUnit",
    "Model",
    "ModelPlace",
    "ModelSource",
    "OrderedExporter",
    "Quantization",
    "RemoteTrainer",
    "ReusableExporter",
    "SharesBase",
    "Source",
    "Speaker",
    "SpeakerSource",
    "SupportsDistributed",
    "TrainRun",
    "TrainingMonitor",
]
