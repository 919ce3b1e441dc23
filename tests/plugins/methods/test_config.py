"""methods/config.py: settings that do not go together are refused in the plan, with what to set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from framework import Selection, testing
from framework.api.registry import plugins
from framework.util.errors import FrameworkError
from framework_plugins.hf.settings.config import Dtype
from framework_plugins.hf.settings.rollouts import advice
from framework_plugins.methods.plugin import framework_advice

GRPO = ("method=grpo", "reward=[json_valid]", "metric=[exact_match,json_valid]")
ONE_ROW = ("trainer.per_device_train_batch_size=1", "trainer.gradient_accumulation_steps=1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("method=dpo", "method.beta=0"), r"method.beta=0.*above 0"),
        (("method=dpo", "method.loss_type=[]"), r"method.loss_type=\[\]: name each loss once, and at least one"),
        (("method=dpo", "method.loss_type=[ipo]", "method.loss_weights=[1,2]"), "give a weight of 0 or more for each"),
        (("method=dpo", "method.loss_type=[ipo]", "method.loss_weights=[nan]"), "give a weight of 0 or more for each"),
        (("method=dpo", "method.loss_type=[ipo]", "method.loss_weights=[inf]"), "give a weight of 0 or more for each"),
        (("method=dpo", "method.loss_weights=[nan]"), "give a weight of 0 or more for each"),
        (
            ("method=dpo", "method.loss_type=[nca_pair]", "method.f_divergence_type=js_divergence"),
            r"js_divergence has no effect with method.loss_type=\[nca_pair\]: leave it out, or choose sigmoid",
        ),
        (("method=dpo", "method.loss_type=[exo_pair]"), "takes the logarithm of method.label_smoothing"),
        (
            ("method=dpo", "method.label_smoothing=0.1"),
            r"no effect with method.loss_type=\[sigmoid\].*exo_pair, robust",
        ),
        (("method=cpo", "method.loss_type=ipo", "method.label_smoothing=0.1"), "no effect with method.loss_type=ipo"),
        (("method=kto", "method.desirable_weight=0", "method.undesirable_weight=0"), "nothing would be learned"),
        (("method=kto", *ONE_ROW), "a step has one row: set trainer.gradient_accumulation_steps=8"),
        (
            ("method=dpo", "launch=fsdp2", "adapter.start=somewhere"),
            "adapter.start=somewhere starts the training from something else: set launch=ddp or launch=single",
        ),
        (("method=kto", "launch=fsdp2", "adapter=full"), "adapter=full starts the training from something else"),
        (("method=grpo",), "needs something that scores them"),
        ((*GRPO, "method.num_generations=1"), "method.num_generations=1.*2"),
        ((*GRPO, "launch=fsdp2"), "draws answers in each process on its own.* set launch=ddp or launch=single"),
        (("rollout=vllm",), "rollout=vllm has no effect with method=sft, which draws no answers"),
        ((*GRPO, "rollout=continuous"), "rollout=continuous has no effect with trainer=echo: leave rollout out"),
        ((*GRPO, "rollout=vllm", "method.top_p=0.5"), "set method.top_p=1, or rollout=model"),
        ((*GRPO, "rollout=vllm", "adapter=full"), "set adapter=lora and quantization=none, or rollout=model"),
        ((*GRPO, "rollout=vllm", "launch=ddp"), "rollout=vllm draws in one process: set launch=single"),
        (
            (*GRPO, "rollout.importance_sampling_mode=token_truncate", "rollout.importance_sampling_clip_max=null"),
            "truncates nothing: set rollout.importance_sampling_clip_max=3",
        ),
        ((*GRPO, "rollout.importance_sampling_clip_min=4"), "clip_min=4 has to be below clip_max=3"),
        ((*GRPO, "verdict.primary=json_valid"), "verdict.primary=json_valid is the reward.*: exact_match"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(FrameworkError, match=message):
        testing.plan([*words], run_dir=tmp_path)


def test_the_plan_names_a_generator_that_was_not_tried(tmp_path: Path) -> None:
    plan = testing.plan([*GRPO], run_dir=tmp_path)
    choice = Selection(component := plugins().components("rollout")["vllm"], component.schema(dtype=Dtype.fp16))
    told = [*advice(dataclasses.replace(plan, rollout=choice))]
    assert [one.partition(":")[0].partition(".")[0] for one in told] == [
        "rollout=vllm was not tried on a GPU by its authors",
        "rollout",
    ]
    assert [*advice(plan)] == []


@pytest.mark.parametrize(("words", "advised"), [((), True), (("trainer.early_stopping_metric=label_margin",), False)])
def test_the_plan_advises_a_measure_that_chooses_the_weights(
    tmp_path: Path, words: tuple[str, ...], *, advised: bool
) -> None:
    plan = testing.plan(["method=kto", *words], run_dir=tmp_path)
    told = [*framework_advice(plan, None)]
    assert bool(told) is advised
    assert all("set trainer.early_stopping_metric=label_margin, or trainer.keep_best=false" in one for one in told)
