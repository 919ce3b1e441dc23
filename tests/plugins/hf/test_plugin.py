"""hf/plugin.py: what the plan check refuses."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from framework import testing
from framework.api.commands import check_model
from framework.util.errors import FrameworkError
from framework_plugins.hf.settings.config import NOT_SWITCHES


def test_names_that_the_program_gives_a_template_are_no_switches(tmp_path: Path) -> None:
    words = ["model.chat_template_kwargs={tools: [], add_generation_prompt: true, enable_thinking: false}"]
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=tmp_path)
    first, second = str(caught.value).splitlines()
    assert "model.chat_template_kwargs.add_generation_prompt=True is not a switch of a chat template" in first
    assert "model.chat_template_kwargs.tools=[] is not a switch of a chat template; the program sets tools" in second


def test_switches_of_a_template_are_left_alone(tmp_path: Path) -> None:
    plan = testing.plan(["model.chat_template_kwargs={enable_thinking: false}"], run_dir=tmp_path)
    assert plan.model.config.chat_template_kwargs == {"enable_thinking": False}


def test_tokens_that_the_model_does_not_have_cannot_be_trained(tmp_path: Path) -> None:
    plan = testing.plan(["adapter=lora", "adapter.args.trainable_token_indices=[3, 400]"], run_dir=tmp_path)
    for config in ({"vocab_size": 400}, {"text_config": {"vocab_size": 400}}):
        with pytest.raises(FrameworkError, match=r"token_indices: the model has no token 400; valid are 0 to 399"):
            check_model(plan, config)
    check_model(plan, {"vocab_size": 401})


def test_every_parameter_of_the_method_that_renders_is_refused() -> None:
    taken = {
        name
        for function in (PreTrainedTokenizerBase.apply_chat_template, render_jinja_template)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and name != "self"
    }
    assert taken <= NOT_SWITCHES
