"""For authors of trainers, methods, losses, models, quantizations, adapters and parts of a training. Provisional.

What a model and its trainer do for a run (`Backend`, `Model`, `TrainRun`), what is learned from rows (`Method`,
`Objective`), their settings, optimizers, schedules, samplers, callbacks and monitors, the rows of tokens, memory
estimates, process groups, and hashes for caches.
"""

from framework.api import environments
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
    check_answered,
    for_each_answer,
    is_prompt,
    with_thoughts,
)
from framework.api.data import (
    NumberedRows,
    answer_rows,
    set_of,
)
from framework.api.fields import (
    Type,
)
from framework.api.former_settings import (
    FORMER,
    current_settings,
)
from framework.api.process_group import (
    GROUP_STORE,
    OUTER_VARIABLES,
    WORKER,
    Engine,
    Evaluation,
    Member,
    ProcessGroup,
    member,
    outer_member,
)
from framework.api.protocols import (
    Adapter,
    AnswerHelper,
    AnswerTask,
    Backend,
    Callback,
    ChoosesAnswers,
    Generator,
    LossValue,
    Method,
    ModelPart,
    ModelPlace,
    ModelSource,
    Objective,
    OptimizerFactory,
    ParameterGroup,
    Quantization,
    ReadsBeside,
    ReadsLogits,
    Rewarder,
    Rollout,
    Sampler,
    SamplingModel,
    Schedule,
    Start,
    TokenScores,
    TrainedWeight,
    TrainingMonitor,
    TrainRun,
)
from framework.api.records import (
    DRAW_DIFFERENCE,
    DRAWN_LOG_PROBS,
    IGNORE,
    IMPORTANCE_RATIO,
    NAN,
    OLD_LOG_PROBS,
    SEPARATOR,
    Episode,
    GroupedRows,
    MemoryReduction,
    Sampled,
    StepControl,
    TextForm,
    TokenGroup,
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
    CallbackConfig,
    ImportanceSampling,
    LossConfig,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    PassCost,
    QuantizationConfig,
    Rates,
    Role,
    RolloutConfig,
    SamplerConfig,
    SamplingParams,
    ScheduleConfig,
    Thinking,
    Thoughts,
    TrainerConfig,
    WeightGroup,
)
from framework.memory import (
    Attention,
    Loss,
    MemorySettings,
    Shape,
    Weights,
    devices_of_layers,
    estimate,
)

__all__ = [
    "BEGIN_THOUGHT",
    "CHAT_TEMPLATES",
    "DRAWN_LOG_PROBS",
    "DRAW_DIFFERENCE",
    "END_THOUGHT",
    "FORMER",
    "GROUP_STORE",
    "IGNORE",
    "IMPORTANCE_RATIO",
    "NAN",
    "OLD_LOG_PROBS",
    "OUTER_VARIABLES",
    "SEPARATOR",
    "THINKING_SWITCHES",
    "TRAINING_STATE",
    "WORKER",
    "Adapter",
    "AdapterConfig",
    "AnswerHelper",
    "AnswerTask",
    "Attention",
    "Backend",
    "Callback",
    "CallbackConfig",
    "ChatTemplate",
    "ChoosesAnswers",
    "Counter",
    "Engine",
    "Episode",
    "Evaluation",
    "Generator",
    "GroupedRows",
    "ImportanceSampling",
    "Loss",
    "LossConfig",
    "LossValue",
    "Member",
    "MemoryReduction",
    "MemorySettings",
    "Method",
    "MethodConfig",
    "ModelConfig",
    "ModelPart",
    "ModelPlace",
    "ModelSource",
    "NumberedRows",
    "Objective",
    "OptimizerConfig",
    "OptimizerFactory",
    "ParameterGroup",
    "PassCost",
    "ProcessGroup",
    "Quantization",
    "QuantizationConfig",
    "Rates",
    "ReadsBeside",
    "ReadsLogits",
    "Rewarder",
    "Role",
    "Rollout",
    "RolloutConfig",
    "Sampled",
    "Sampler",
    "SamplerConfig",
    "SamplingModel",
    "SamplingParams",
    "Schedule",
    "ScheduleConfig",
    "Shape",
    "Start",
    "StepControl",
    "TextForm",
    "Thinking",
    "Thoughts",
    "TokenGroup",
    "TokenRow",
    "TokenScores",
    "TrainRun",
    "TrainedWeight",
    "TrainerConfig",
    "TrainingMonitor",
    "Type",
    "WeightGroup",
    "Weights",
    "answer_rows",
    "chat_template_problem",
    "check_answered",
    "current_settings",
    "devices_of_layers",
    "environments",
    "estimate",
    "for_each_answer",
    "imported_too_late",
    "is_prompt",
    "member",
    "outer_member",
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
