"""The options of `rollout=` pass the suite that authors are given, and draw with the weights that are trained."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from transformers import ContinuousBatchingConfig

from framework import FrameworkError
from framework.api.records import IGNORE, TokenRow
from framework.api.registry import plugins
from framework.api.training import SamplingModel, SamplingParams
from framework.testing import RolloutSuite
from framework.testing.suites.rollout import ASKED
from framework_plugins.hf.generate.generators import bound_cache
from framework_plugins.hf.generate.merged import merged, merged_bytes
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.settings.config import Switch
from tests.support.tiny import tiny_llama
from tests.support.training import with_adapter


@pytest.fixture(scope="module")
def opened_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HFModel]:
    with with_adapter(tmp_path_factory.mktemp("tiny"), tiny_llama) as model:
        yield model


class OfTiny(RolloutSuite):
    opened: ClassVar[Any] = None

    @pytest.fixture(autouse=True)
    def open_model(self, opened_model: HFModel) -> None:
        type(self).opened = opened_model

    def model(self, folder: Path) -> SamplingModel:
        del folder
        self.opened.model.eval()
        opened: SamplingModel = self.opened
        return opened

    def test_its_log_probabilities_are_those_of_the_model(self, tmp_path: Path) -> None:
        drawn = [*itertools.chain(*self.drawn(tmp_path))]
        scored = self.opened.score([answer.row for answer in drawn])
        for answer, known in zip(drawn, scored, strict=True):
            assert answer.log_probs == pytest.approx(known.log_probs, abs=1e-4)


class TestModel(OfTiny):
    option = "model"


class TestMerged(OfTiny):
    option = "model"
    settings: ClassVar[dict[str, Any]] = {"merge": Switch.enabled}


@pytest.mark.slow  # its threads and caches take seconds for each draw
class TestContinuous(OfTiny):
    option = "continuous"
    settings: ClassVar[dict[str, Any]] = {"max_memory_percent": 0.1}
    repeats = False


def test_continuous_batching_on_a_cpu_holds_the_answers_that_are_drawn_at_once() -> None:
    batching = ContinuousBatchingConfig()
    bound_cache(batching, 4, 10, 6)
    assert (batching.num_blocks, batching.max_batch_tokens, batching.max_requests_per_batch) == (8, 14, 4)


def test_merged_weights_are_those_of_base_and_adapter_and_the_base_comes_back_bit_for_bit(
    opened_model: HFModel,
) -> None:
    model, ids = opened_model.model.eval(), torch.tensor([[5, 6, 7]])
    before = {name: (weight, weight.detach().clone()) for name, weight in model.named_parameters()}
    with torch.no_grad():
        plain = model(ids).logits
        with merged(model):
            changed = [name for name, (weight, value) in before.items() if not torch.equal(weight, value)]
            assert {name.rpartition(".base_layer")[1] for name in changed} == {".base_layer"}
            torch.testing.assert_close(model(ids).logits, plain, atol=1e-4, rtol=1e-4)
        with pytest.raises(KeyboardInterrupt), merged(model):
            raise KeyboardInterrupt
        assert torch.equal(model(ids).logits, plain)
    assert merged_bytes(model) == sum(before[name][1].nbytes for name in changed)
    for name, weight in model.named_parameters():
        assert weight is before[name][0]
        assert torch.equal(weight, before[name][1])


def test_vllm_gets_the_adapter_of_each_draw(opened_model: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in: vLLM is not installed."""
    seen: list[Any] = []
    (stop, *_) = opened_model.stop_ids

    class LLM:
        def __init__(self, **settings: Any) -> None:
            seen.append(settings)

        def generate(self, asked: Any, settings: Any, lora_request: Any, **_: Any) -> Any:
            seen.append(
                (lora_request.number, load_file(Path(lora_request.path) / "adapter_model.safetensors"), settings)
            )
            log_probs = [{token: SimpleNamespace(logprob=-0.5)} for token in (7, stop)]
            one = SimpleNamespace(token_ids=(7, stop), logprobs=log_probs)
            return [SimpleNamespace(outputs=[one] * settings[0].n) for _ in asked]

    def request(name: str, number: int, path: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, number=number, path=path)

    name = "framework_plugins.hf.generate.vllm"
    parts = {"vllm": {"LLM": LLM, "SamplingParams": SimpleNamespace}, "vllm.lora": {}}
    for module, content in (parts | {"vllm.lora.request": {"LoRARequest": request}}).items():
        made = ModuleType(module)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, module, made)
    try:
        component = plugins().components("rollout")["vllm"]
        generate = component.load()(component.schema()).generator(opened_model)
        for seed in (1, 2):
            drawn = generate(ASKED, SamplingParams(2, 6, 0.7, seed=seed))
    finally:
        sys.modules.pop(name, None)
    start = opened_model.prompt_ids(ASKED[1])
    assert [len(some) for some in drawn] == [2] * 3
    assert drawn[1][0].row == TokenRow([*start, 7, stop], [IGNORE] * len(start) + [7, stop], ASKED[1].where)
    assert (drawn[1][0].stopped, drawn[1][0].log_probs) == (True, (-0.5, -0.5))
    engine, first, second = seen
    assert (engine["dtype"], engine["max_lora_rank"]) == ("float32", 8)
    assert (first[0], second[0]) == (1, 2)
    assert len({each.seed for draw in (first, second) for each in draw[2]}) == 6
    trained = {name for name, weight in opened_model.model.named_parameters() if weight.requires_grad}
    assert len(first[1]) == len(trained)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="it is installed")
def test_vllm_that_is_not_installed_is_named() -> None:
    with pytest.raises(FrameworkError, match="needs the library 'vllm'"):
        plugins().components("rollout")["vllm"].load()
