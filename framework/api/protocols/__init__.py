"""What the code behind each option must offer. A factory named by a `Component` is called with the option's config.

The protocols say what is called, in which order, and what it may raise. `FrameworkError` is for what a user can mend.
"""

from framework.api.protocols.evaluation import AnswerMetric, AnyMetric, Audit, Evaluator, Metric
from framework.api.protocols.exports import ExportContext, Exporter
from framework.api.protocols.logger import Logger
from framework.api.protocols.model import Backend, Divisible, Elsewhere, Model, TrainRun
from framework.api.protocols.monitor import TrainingMonitor
from framework.api.protocols.program import Command, Launcher, Speaker, SpeakerSource
from framework.api.protocols.sources import Adapter, Formatter, ModelPlace, ModelSource, Quantization, Source

__all__ = [
    "Adapter",
    "AnswerMetric",
    "AnyMetric",
    "Audit",
    "Backend",
    "Command",
    "Divisible",
    "Elsewhere",
    "Evaluator",
    "ExportContext",
    "Exporter",
    "Formatter",
    "Launcher",
    "Logger",
    "Metric",
    "Model",
    "ModelPlace",
    "ModelSource",
    "Quantization",
    "Source",
    "Speaker",
    "SpeakerSource",
    "TrainRun",
    "TrainingMonitor",
]
