"""What the code behind each option must offer. A factory named by a `Component` is called with the option's config.

The protocols say what is called, in which order, and what it may raise. `FrameworkError` is for what a user can mend.
"""

from framework.protocols.evaluation import AnswerMetric, AnyMetric, Audit, Evaluator, Metric
from framework.protocols.exports import ExportContext, Exporter
from framework.protocols.logger import Logger
from framework.protocols.model import Backend, Divisible, Elsewhere, Model, TrainRun
from framework.protocols.monitor import TrainingMonitor
from framework.protocols.program import Command, Launcher, Speaker, SpeakerSource
from framework.protocols.sources import Adapter, Formatter, ModelPlace, ModelSource, Quantization, Source

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
