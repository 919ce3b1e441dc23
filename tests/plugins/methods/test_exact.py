"""methods: loss, logged rewards and gradients are those of the installed TRL on the same rows, in fp32."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig as TrlDpoConfig
from trl import DPOTrainer, KTOTrainer
from trl import KTOConfig as TrlKtoConfig
from trl.experimental.cpo import CPOConfig as TrlCpoConfig
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOConfig as TrlOrpoConfig
from trl.experimental.orpo import ORPOTrainer

from framework.api.records import IGNORE, GroupedRows, TokenGroup, TokenRow
from framework.api.schema import Role
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.train.step import CheckedObjective
from framework_plugins.methods.config import (
    SMOOTHED,
    CpoConfig,
    CpoLoss,
    Divergence,
    DpoConfig,
    DpoLoss,
    KtoConfig,
    KtoLoss,
    OrpoConfig,
    SimpoConfig,
)
from framework_plugins.methods.cpo import Cpo
from framework_plugins.methods.dpo import Dpo
from framework_plugins.methods.kto import Kto
from framework_plugins.methods.orpo import Orpo
from framework_plugins.methods.simpo import Simpo
from tests.plugins.hf.train.test_step import Made, by_step, gradients
from tests.support.examples import examples
from tests.support.tiny import tiny_llama

EXACT = 1e-5
VOCABULARY = 300
Trainers = Mapping[str, Any]
beta = st.floats(0.01, 2).map(lambda value: round(value, 3))
smoothing = st.sampled_from([0.0, 0.05, 0.3])


def adapted_llama(folder: Path) -> tuple[Any, Any]:
    """Return a tiny model with an adapter that says something, and its tokenizer."""
    tiny_llama(folder)
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Trainers:
    """Return TRL's trainers of one tiny model with an adapter that says something."""
    model, tokenizer = adapted_llama(tmp_path_factory.mktemp("tiny"))
    pairs = Dataset.from_list([{"prompt": "Add", "chosen": "one", "rejected": "two"}] * 2)
    labels = Dataset.from_list([{"prompt": "Add", "completion": " one", "label": one} for one in (True, False)])
    own = {"use_cpu": True, "bf16": False, "report_to": [], "per_device_train_batch_size": 2, "max_length": 64}
    made = {}
    for name, trainer, config, data in (
        ("kto", KTOTrainer, TrlKtoConfig, labels),
        ("dpo", DPOTrainer, TrlDpoConfig, pairs),  # after KTO's: it replaces the head, and gives more
        ("cpo", CPOTrainer, TrlCpoConfig, pairs),
        ("orpo", ORPOTrainer, TrlOrpoConfig, pairs),
    ):
        with warnings.catch_warnings():  # of TRL about its own settings
            warnings.simplefilter("ignore")
            args = config(output_dir=str(tmp_path_factory.mktemp(name)), **own)
            made[name] = trainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)
        if "ref" in model.peft_config:  # a copy of the adapter; without it the reference is the base
            model.delete_adapter("ref")
            model.set_adapter("default")
    return made


def drawn(seed: int, prompt: int = 6, labels: Sequence[float] = ()) -> list[TokenGroup]:
    """Return five pairs, or with labels five answers."""
    draw, made = np.random.default_rng(seed), list[TokenGroup]()
    for number in range(5):
        question = draw.integers(5, VOCABULARY, prompt + (number if prompt > 1 else 0)).tolist()
        sizes = draw.integers(2, 9, 2).tolist()
        rows = [
            TokenRow([*question, *said], [IGNORE] * len(question) + said, f"rows:{number}")
            for said in (draw.integers(5, VOCABULARY, size).tolist() for size in sizes)
        ]
        if labels:
            made.append(GroupedRows((rows[0],), facts={"desirable": labels[number]}))
        else:
            made.append(GroupedRows((rows[0], rows[1]), (Role.answer, Role.rejected)))
    return made


def padded(rows: Sequence[TokenRow]) -> dict[str, torch.Tensor]:
    """Return rows as TRL's collators have them."""
    longest = max(len(row.input_ids) for row in rows)
    gaps = [longest - len(row.input_ids) for row in rows]
    return {
        "input_ids": torch.tensor([row.input_ids + [0] * gap for row, gap in zip(rows, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps]),
        "labels": torch.tensor([row.labels + [IGNORE] * gap for row, gap in zip(rows, gaps, strict=True)]),
    }


def completions(rows: Sequence[TokenRow]) -> dict[str, torch.Tensor]:
    batch = padded(rows)
    labels = batch.pop("labels")
    return {**batch, "completion_mask": (labels != IGNORE).long()}


def by_trl(trainer: Any, call: Callable[[], tuple[torch.Tensor, Mapping[str, float]]]) -> Made:
    model = trainer.model
    model.zero_grad()
    model.eval()  # no dropout in either
    loss, metrics = call()
    torch.autograd.backward(loss)
    return loss.item(), gradients(model), metrics


def logged(trainer: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, Mapping[str, float]]:
    """Return the loss that a trainer of TRL computes, and what it logs."""
    trainer._metrics["eval"].clear()  # noqa: SLF001 - TRL has no public name for it, nor for the next
    loss = trainer._compute_loss(trainer.model, batch, return_outputs=False)  # noqa: SLF001
    return loss, {name: values[-1] for name, values in trainer._metrics["eval"].items()}  # noqa: SLF001


def ours(trainer: Any, method: Any, groups: Sequence[TokenGroup], packing: Packing, rows: int = 100) -> Made:
    objective = CheckedObjective(method, "method=it", 1000, plain=False)
    return by_step(trainer.model, objective, groups, Packer(packing, rows, 0, dense_mask=True, together=True))


def same(made: Made, expected: Made, exact: float = EXACT, beta: float = 0) -> None:
    assert made[0] == pytest.approx(expected[0], rel=exact, abs=exact)
    names = [name for name in made[1] if expected[1][name].norm() or made[1][name].norm()]
    flat = [torch.cat([of[1][name].flatten() for name in names] or [torch.zeros(1)]) for of in (made, expected)]
    assert float((flat[0] - flat[1]).norm()) <= exact * max(1e-3, float(flat[1].norm()))
    rewards = {name for name in made[2] if name.startswith("rewards/")}
    plain = {name: value for name, value in made[2].items() if name not in rewards}
    assert plain == pytest.approx({name: expected[2][name] for name in plain}, rel=EXACT, abs=EXACT)
    # A reward is beta times a difference of two sums of 32 to 64 nats, which fp32 rounds to 2**-18 each.
    rounding = max(EXACT, beta * 2 * 2 * 2**-18)
    assert {name: made[2][name] for name in rewards} == pytest.approx(
        {name: expected[2][name] for name in rewards}, rel=EXACT, abs=rounding
    )


def exactness(config: DpoConfig) -> float:
    """Return how exact a loss is: 1 / tau or an exponent raises the rounding of log-probabilities in fp32."""
    steep = DpoLoss.discopop in config.loss_type or config.f_divergence_type is not Divergence.reverse_kl
    return 10 * EXACT if steep else EXACT


def dpo_configs() -> st.SearchStrategy[DpoConfig]:
    def config(kinds: list[DpoLoss], weights: list[float], smooth: float, **more: Any) -> DpoConfig:
        needs = DpoLoss.exo_pair in kinds
        smooth = (smooth or 0.1) if needs else smooth if {*kinds} & {*SMOOTHED} else 0.0
        return DpoConfig(loss_type=kinds, loss_weights=weights[: len(kinds)], label_smoothing=smooth, **more)

    return st.builds(
        config,
        st.lists(st.sampled_from(DpoLoss), min_size=1, max_size=3, unique=True),
        st.lists(st.sampled_from([0.2, 1.0, 1.5]), min_size=3, max_size=3),
        smoothing,
        beta=beta,
        f_divergence_type=st.sampled_from(Divergence),
        f_alpha_divergence_coef=st.sampled_from([0.3, 1.0, 1.4]),
        discopop_tau=st.sampled_from([0.05, 0.5]),
        ld_alpha=st.sampled_from([None, 0.0, 0.4]),
    )


def trl_dpo(trainer: Any, config: DpoConfig, groups: Sequence[TokenGroup]) -> Made:
    trainer.beta, trainer.label_smoothing, trainer.ld_alpha = config.beta, config.label_smoothing, config.ld_alpha
    trainer.loss_types = [kind.value for kind in config.loss_type]
    trainer.loss_weights = config.loss_weights
    trainer.f_divergence_type = config.f_divergence_type.value
    trainer.f_alpha_divergence_coef = config.f_alpha_divergence_coef
    trainer.args.discopop_tau = config.discopop_tau
    batch = completions([group.rows[place] for place in (0, 1) for group in groups])
    return by_trl(trainer, lambda: logged(trainer, batch))


@settings(max_examples=examples(100))
@given(config=dpo_configs(), seed=st.integers(0, 1000), packing=st.sampled_from(Packing))
def test_dpo_is_that_of_trl(trainers: Trainers, config: DpoConfig, seed: int, packing: Packing) -> None:
    groups = drawn(seed)
    made, expected = ours(trainers["dpo"], Dpo(config), groups, packing), trl_dpo(trainers["dpo"], config, groups)
    same(made, expected, exactness(config), config.beta)


@pytest.mark.parametrize("kind", DpoLoss)
def test_each_loss_of_dpo_is_that_of_trl(trainers: Trainers, kind: DpoLoss) -> None:
    config = DpoConfig(beta=0.2, loss_type=[kind], loss_weights=[1.0], label_smoothing=0.1 if kind in SMOOTHED else 0.0)
    groups = drawn(1)
    made, expected = ours(trainers["dpo"], Dpo(config), groups, Packing.tree), trl_dpo(trainers["dpo"], config, groups)
    same(made, expected, exactness(config), config.beta)


@settings(max_examples=examples(60))
@given(
    config=st.builds(
        KtoConfig,
        beta=beta,
        loss_type=st.sampled_from(KtoLoss),
        desirable_weight=st.sampled_from([1.0, 0.5, 0.0]),
        undesirable_weight=st.sampled_from([1.0, 1.3]),
    ),
    labels=st.lists(st.sampled_from([0.0, 1.0]), min_size=5, max_size=5),
    seed=st.integers(0, 1000),
    rows=st.sampled_from([1, 100]),
)
def test_kto_is_that_of_trl(trainers: Trainers, config: KtoConfig, labels: list[float], seed: int, rows: int) -> None:
    trainer, groups = trainers["kto"], drawn(seed, labels=labels)
    trainer.beta, trainer.loss_type, trainer.calculate_KL = config.beta, config.loss_type.value, True
    trainer.calculate_KL = config.loss_type is KtoLoss.kto
    trainer.desirable_weight, trainer.undesirable_weight = config.desirable_weight, config.undesirable_weight
    answers = [group.rows[0] for group in groups]
    batch: dict[str, Any] = {**completions(answers), "label": torch.tensor([label > 0 for label in labels])}
    begins = [len(row.labels) - len(row.learned) for row in answers]
    mixed = [
        TokenRow(one.input_ids[:begin] + other.learned, [IGNORE] * begin + other.learned)
        for one, begin, other in zip(answers, begins, [answers[-1], *answers[:-1]], strict=True)
    ]
    if trainer.calculate_KL:
        batch |= {f"KL_{name}": value for name, value in completions(mixed).items()}

    expected = by_trl(trainer, lambda: logged(trainer, batch))
    same(ours(trainer, Kto(config), groups, Packing.tree, rows), expected, beta=config.beta)


def of_pairs(trainer: Any, groups: Sequence[TokenGroup]) -> Made:
    batch = {
        f"{role}_{name}": value
        for place, role in enumerate(("chosen", "rejected"))
        for name, value in padded([group.rows[place] for group in groups]).items()
    }
    return by_trl(trainer, lambda: trainer.get_batch_loss_metrics(trainer.model, batch))


@settings(max_examples=examples(40))
@given(
    kind=st.sampled_from(["sigmoid", "hinge", "ipo", "simpo"]),
    beta=beta,
    smooth=smoothing,
    alpha=st.sampled_from([0.0, 0.1]),
    more=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
def test_cpo_and_simpo_are_those_of_trl(
    trainers: Trainers, kind: str, beta: float, smooth: float, alpha: float, more: float, seed: int
) -> None:
    trainer, groups = trainers["cpo"], drawn(seed)
    more = 0.0 if kind == "simpo" else more
    trainer.beta, trainer.loss_type, trainer.cpo_alpha, trainer.simpo_gamma = beta, kind, more, 0.5
    trainer.label_smoothing, trainer.alpha = smooth, alpha if kind in {"simpo", "ipo"} else 0.0
    method: Any = (
        Simpo(SimpoConfig(beta=beta, simpo_gamma=0.5, label_smoothing=smooth, alpha=trainer.alpha))
        if kind == "simpo"
        else Cpo(CpoConfig(beta, CpoLoss(kind), smooth, more, trainer.alpha))
    )
    made, expected = ours(trainer, method, groups, Packing.tree), of_pairs(trainer, groups)
    if kind in {"simpo", "ipo"}:  # TRL logs means of tokens there
        made = (*made[:2], {name: value for name, value in made[2].items() if not name.startswith("logps")})
    same(made, expected)


@settings(max_examples=examples(20))
@given(beta=beta, seed=st.integers(0, 1000))
def test_orpo_is_that_of_trl_where_the_prompt_has_nothing_to_learn(trainers: Trainers, beta: float, seed: int) -> None:
    trainer, groups = trainers["orpo"], drawn(seed, prompt=1)
    trainer.beta = beta
    made, expected = ours(trainer, Orpo(OrpoConfig(beta)), groups, Packing.tree), of_pairs(trainer, groups)
    same((*made[:2], {name: value for name, value in made[2].items() if not name.startswith("logps")}), expected)
