"""For authors of trainers, models, quantizations, adapters and monitors of a training. Provisional.

What a model and its trainer do for a run (`Backend`, `Model`, `TrainRun`), their settings, the rows of tokens, memory
estimates, process groups, and hashes for caches.
"""

from framework.api.chat_templates import (
    CHAT_TEMPLATES,
    ChatTemplate,
    chat_template_problem,
    read_chat_template,
)
from framework.api.component import (
    imported_too_late,
)
from framework.api.conversations import (
    BEGIN_THOUGHT,
    END_THOUGHT,
    for_each_answer,
    with_thoughts,
)
from framework.api.data import (
    NumberedRows,
    set_of,
)
from framework.api.fields import (
    Type,
)
from framework.api.process_group import (
    WORKER,
    Engine,
    Member,
    ProcessGroup,
    member,
)
from framework.api.protocols import (
    Adapter,
    Backend,
    CountedModelSource,
    KeepsCheckpoints,
    LimitsLength,
    ModelPlace,
    ModelSource,
    Quantization,
    RemoteTrainer,
    SharesBase,
    SupportsDistributed,
    TrainingMonitor,
    TrainRun,
)
from framework.api.records import (
    IGNORE,
    NAN,
    SEPARATOR,
    MemoryReduction,
    StepControl,
    TextForm,
    TokenRow,
)
from framework.api.registry import (
    Counter,
    shared_cache,
)
from framework.api.run_folder import (
    TRAINING_STATE,
)
from framework.api.schema import (
    THINKING_SWITCHES,
    AdapterConfig,
    ModelConfig,
    Optimizer,
    QuantizationConfig,
    Schedule,
    Thinking,
    Thoughts,
    TrainerConfig,
)
from framework.memory import (
    Attention,
    Loss,
    MemorySettings,
    Shape,
    Weights,
    estimate,
)
from framework.memory.shape import (
    LINEARS,
)

__all__ = [
    "BEGIN_THOUGHT",
    "CHAT_TEMPLATES",
    "END_THOUGHT",
    "IGNORE",
    "LINEARS",
    "NAN",
    "SEPARATOR",
    "THINKING_SWITCHES",
    "TRAINING_STATE",
    "WORKER",
    "Adapter",
    "AdapterConfig",
    "Attention",
    "Backend",
    "ChatTemplate",
    "CountedModelSource",
    "Counter",
    "Engine",
    "KeepsCheckpoints",
    "LimitsLength",
    "Loss",
    "Member",
    "MemoryReduction",
    "MemorySettings",
    "ModelConfig",
    "ModelPlace",
    "ModelSource",
    "NumberedRows",
    "Optimizer",
    "ProcessGroup",
    "Quantization",
    "QuantizationConfig",
    "RemoteTrainer",
    "Schedule",
    "Shape",
    "SharesBase",
    "StepControl",
    "SupportsDistributed",
    "TextForm",
    "Thinking",
    "Thoughts",
    "TokenRow",
    "TrainRun",
    "TrainerConfig",
    "TrainingMonitor",
    "Type",
    "Weights",
    "chat_template_problem",
    "estimate",
    "for_each_answer",
    "imported_too_late",
    "member",
    "read_chat_template",
    "set_of",
    "shared_cache",
    "validation_is_due",
    "with_thoughts",
]


def validation_is_due(
    eval_steps: int | None, step: int, epoch_steps: int, total_steps: int, *, validated: bool
) -> bool:
    """Whether a validation comes after a step; all backends use this, so that all validate at the same steps.

    Args:
        eval_steps: `trainer.eval_steps`.
        step: the step, from 1.
        epoch_steps: the steps of an epoch.
        total_steps: the steps of the training.
        validated: whether there was a validation before. Only then is there one at the end of the training: with
            nothing to choose from, the evaluation that follows is enough.
    """
    if step >= total_steps:
        return validated
    return step % (eval_steps or epoch_steps) == 0
