"""Registers the built-in methods and losses, and the rewards of TRL."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from framework import Component, FrameworkError, Plan, Stage, hookimpl
from framework.api import Concern, Guard, Measure, Problem, Results, Work
from framework.api.training import environments
from framework_plugins.methods import config, reward_config


@hookimpl
def framework_components() -> Iterable[Component]:
    """What a run learns by if nothing else is chosen, what learns from preferences, and from plain texts."""
    package = "framework_plugins.methods"
    yield Component("sft", config.SftConfig, f"{package}.sft:Sft")
    yield Component("dpo", config.DpoConfig, f"{package}.dpo:Dpo")
    yield Component("kto", config.KtoConfig, f"{package}.kto:Kto")
    yield Component("orpo", config.OrpoConfig, f"{package}.orpo:Orpo")
    yield Component("cpo", config.CpoConfig, f"{package}.cpo:Cpo")
    yield Component("simpo", config.SimpoConfig, f"{package}.simpo:Simpo")
    yield Component("grpo", config.GrpoConfig, f"{package}.grpo:Grpo")
    yield Component("best_of_n", config.BestOfNConfig, f"{package}.best_of_n:BestOfN")
    yield Component("pretrain", config.PretrainConfig, f"{package}.pretrain:Pretrain")
    rewards, verify = f"{package}.trl_rewards", "math-verify"
    yield Component("accuracy", reward_config.AccuracyConfig, f"{rewards}:accuracy", verify)
    reasoning = reward_config.ReasoningAccuracyConfig
    yield Component("reasoning_accuracy", reasoning, f"{rewards}:reasoning_accuracy", verify)
    yield Component("cosine_scaled", reward_config.CosineScaledConfig, f"{rewards}:cosine_scaled", verify)
    yield Component("think_format", reward_config.ThinkFormatConfig, f"{rewards}:think_format")
    yield Component("repetition_penalty", reward_config.RepetitionPenaltyConfig, f"{rewards}:repetition_penalty")
    scores = f"{package}.reward_model:reward_model"
    yield Component("reward_model", reward_config.RewardModelConfig, scores)
    yield Component("soft_overlong", reward_config.SoftOverlongConfig, f"{rewards}:soft_overlong")
    yield Component("cross_entropy", config.CrossEntropyConfig, f"{package}.cross_entropy:CrossEntropy")


@hookimpl
def framework_concerns(plan: Plan, results: Results) -> Iterable[Concern]:
    """Preferences that are over-optimized, rewards that are hacked, and a choice of answers that brought nothing."""
    from framework_plugins.methods.best_of_n import choosing  # noqa: PLC0415 - of a report only
    from framework_plugins.methods.over_optimization import over_optimization  # noqa: PLC0415 - as above
    from framework_plugins.methods.reward_hacking import reward_hacking  # noqa: PLC0415 - as above

    yield from choosing(plan, results)
    yield from over_optimization(plan, results)
    yield from reward_hacking(plan, results)


@hookimpl
def framework_advice(plan: Plan, work: Work | None) -> Iterable[str]:
    """Settings without effect; and the best weights of preferences are not those with the best loss."""
    del work
    method, training = plan.method.config, plan.training
    if isinstance(method, config.GrpoConfig) and (idle := method.without_effect()):
        yield (
            f"{', '.join(idle)}: without effect with method.steps_per_generation=1 and method.num_iterations=1, since "
            "every ratio is 1 in the only step with its answers. Set method.num_iterations=2"
        )
    chooses = (training.keep_best or training.early_stopping_patience) and training.answers()
    if isinstance(method, config.PreferenceConfig) and chooses and training.early_stopping_metric == Measure.EVAL_LOSS:
        yield (
            "trainer.early_stopping_metric=eval_loss chooses the weights by the loss of the answers, which preferences "
            f"need not lower: set trainer.early_stopping_metric={method.measures()[0]}, or trainer.keep_best=false"
        )


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Refuse settings of a method that do not go together."""
    method, training, primary = plan.method.config, plan.training, plan.settings.verdict.primary
    if primary in plan.reward:
        alternatives = ", ".join(name for name in plan.metric if name not in plan.reward) or "metric=[...]"
        yield Problem(
            f"verdict.primary={primary} is the reward, which the training raises in any way that it can: "
            f"judge by another metric: {alternatives}",
            ("verdict.primary",),
        )
    for name, choice in plan.reward.items():
        if isinstance(choice.config, reward_config.RewardModelConfig):
            try:
                reward_config.reward_folder(choice.config.path)
            except FrameworkError as error:
                yield Problem(f"reward.{name}.path={choice.config.path}: {error}", (f"reward.{name}.path",))
    if isinstance(method, config.GrpoConfig) and plan.sweep and plan.settings.objective == Measure.EVAL_LOSS:
        yield Problem(
            "objective=eval_loss: method=grpo learns from no answers of the rows, so there is no validation loss to "
            f"compare trials by: set objective={next(iter(plan.metric), 'score')}",
            ("objective",),
        )
    if isinstance(method, config.GrpoConfig):
        yield from _environment_problems(plan, method)
    if Stage.train not in plan.intended_stages or not isinstance(method, config.PreferenceConfig):
        return
    yield from method.problems()
    rows = training.per_device_train_batch_size * training.gradient_accumulation_steps
    if isinstance(method, config.KtoConfig) and method.loss_type is config.KtoLoss.kto and rows == 1:
        yield Problem(
            "method=kto compares each answer with those to other questions of its step, and a step has one row: set "
            "trainer.gradient_accumulation_steps=8, or method.loss_type=apo_zero_unpaired",
            ("method",),
        )


def _environment_problems(plan: Plan, settings: config.GrpoConfig) -> Iterable[Problem]:
    """Say why an environment cannot be used."""
    if settings.environment is None:
        if settings.max_tool_calling_iterations is not None:
            yield Problem(
                "method.max_tool_calling_iterations has no effect without method.environment: leave it out",
                ("method.max_tool_calling_iterations",),
            )
        return
    if plan.launch.config.group():
        yield Problem(
            "method.environment draws its answers in one process: set launch=single", ("method.environment", "launch")
        )
    if (rollout := plan.rollout.component.name) != "model":
        yield Problem(
            f"method.environment calls its tools between the turns of rollout=model, and not of rollout={rollout}",
            ("method.environment", "rollout"),
        )
    if Stage.train not in plan.intended_stages:
        return
    option = f"method.environment={settings.environment}"
    try:
        environment: Any = environments.environment_factory(settings.environment)
        if not plan.reward and not inspect.isclass(environment):
            with Guard(f"{option} cannot be made"):
                environment = environment()
    except FrameworkError as error:
        yield Problem(str(error), ("method.environment",))
        return
    if not plan.reward and not environments.scores_itself(environment):
        verb = "has" if inspect.isclass(environment) else f"returns a {type(environment).__name__}, which has"
        yield Problem(
            f"{option} {verb} no method `get_reward`, so something else has to score its answers: add `get_reward`, or "
            "set reward=[...]",
            ("method.environment",),
        )
