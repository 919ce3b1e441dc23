"""hf/train/step.py: every objective has the loss and gradients of autograd through all logits, however it is cut."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from framework import loss
from framework.api.records import IGNORE, GroupedRows, TokenGroup, TokenRow
from framework.api.schema import Role
from framework.api.training import LossValue, Objective, TokenScores
from framework.hooks.decorated import MARK
from framework.util.errors import FrameworkError
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.passes import Passes, is_checkpointing
from framework_plugins.hf.machine.world import ALONE, World
from framework_plugins.hf.packing.parts import Packer, Part
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.train.step import CheckedObjective, OptimizerStep
from framework_plugins.hf.train.step_runner import Collator
from framework_plugins.methods.config import CrossEntropyConfig
from framework_plugins.methods.cross_entropy import CrossEntropy
from tests.docs.test_docs import ROOT, write_files
from tests.support import pairs_plugin
from tests.support.examples import examples
from tests.support.pairs_plugin import Pairs, PairsConfig
from tests.support.tiny import tiny_llama

EXACT = 1e-6
"""In double precision, of the loss and of every gradient as a share of its size."""
Gradients = dict[str, torch.Tensor]
Made = tuple[float, Gradients, Mapping[str, float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return adapted(folder)


def adapted(folder: Path) -> Any:
    """Return the tiny model in double precision, with an adapter that says something."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        weight.data = weight.data.double()
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return model.train()


@pytest.fixture(scope="module")
def of_docs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Objective]]:
    """Return what gives a loss of a file in the documentation, with its default options."""
    place = tmp_path_factory.mktemp("docs")
    write_files(ROOT / "docs/how-to/methods-and-losses.md", None, place)

    def objective(file: str, name: str) -> Objective:
        sys.path.insert(0, str(place))
        try:
            function = getattr(importlib.import_module(file.removesuffix(".py")), name)
        finally:
            sys.path.remove(str(place))
        made: Objective = function.create(getattr(function, MARK).schema())
        return made

    yield objective
    for name in ("focal", "distill", "whole", "gkd"):
        sys.modules.pop(name, None)


def answer(question: list[int], said: list[int]) -> TokenRow:
    return TokenRow([*question, *said], [IGNORE] * len(question) + said, "rows:1")


def groups(kind: str) -> list[TokenGroup]:
    """Return seven groups: rows, rows with a teacher, or pairs with a common beginning."""
    draw, made = np.random.default_rng(0), list[TokenGroup]()
    system = draw.integers(5, 300, 40).tolist()
    for number in range(7):
        question = [*system, *draw.integers(5, 300, 3 + number).tolist()]
        first, second = (answer(question, draw.integers(5, 300, size).tolist()) for size in (2 + number % 3, 4))
        ids = np.stack([draw.permutation(300)[:4] for _ in first.learned]).astype(np.int32)
        found = np.log(draw.dirichlet(np.ones(5), len(first.learned))[:, :4])
        if kind == "rows":
            made.append(first)
        elif kind == "taught":
            made.append(GroupedRows((first,), arrays={"teacher_ids": (ids,), "teacher_log_probs": (found,)}))
        else:
            made.append(GroupedRows((first, second), (Role.answer, Role.rejected)))
    return made


def of_plugin(name: str) -> Objective:
    function = getattr(pairs_plugin, name)
    made: Objective = function.create(getattr(function, MARK).schema())
    return made


KINDS = ("cross_entropy", "by_row", "focal", "distill", "spread", "pairs")


def checked(name: str, of_docs: Callable[[str, str], Objective]) -> tuple[CheckedObjective, list[TokenGroup]]:
    made: Objective
    if name == "cross_entropy":
        made = CrossEntropy(CrossEntropyConfig())
    elif name == "pairs":
        made = Pairs(PairsConfig())
    elif name in ("focal", "distill"):
        made = of_docs(f"{name}.py", name)
    else:
        made = of_plugin(name)
    kind = {"pairs": "pairs", "distill": "taught"}.get(name, "rows")
    return CheckedObjective(made, f"loss={name}", 1000, name == "cross_entropy"), groups(kind)


def autograd(model: Any, objective: CheckedObjective, rows: Sequence[TokenGroup]) -> Made:
    """Return what autograd gives through the logits of each row by itself."""
    model.zero_grad()

    def scores(group: TokenGroup) -> list[torch.Tensor]:
        found, ids = [], objective.objective.ids(group)
        for number, row in enumerate(group.rows):
            logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1]
            learned = torch.tensor([label != IGNORE for label in row.labels[1:]])
            target = torch.tensor(row.learned)[:, None] if ids is None else torch.tensor(ids[number]).long()
            part = logits[learned].log_softmax(-1).gather(1, target)
            found.append(part[:, 0] if ids is None else part)
        return found

    reference = None
    if objective.objective.needs_reference:
        with torch.no_grad(), model.disable_adapter():
            reference = [scores(group) for group in rows]
    tokens = sum(len(row.learned) for group in rows for row in group.rows)
    result = objective(TokenScores(rows, [scores(group) for group in rows], reference, tokens, len(rows)))
    result.value.backward()
    return result.value.item(), gradients(model), {name: float(value) for name, value in result.metrics.items()}


def gradients(model: Any) -> Gradients:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def by_step(
    model: Any,
    objective: CheckedObjective,
    rows: Sequence[TokenGroup],
    packer: Packer,
    world: World = ALONE,
    *,
    keeps_graphs: bool = True,
    kept: int | None = None,
) -> Made:
    """Return what a step gives, of one process or of one of several."""
    model.zero_grad()
    losses = Losses(model, packer.packing, dense_mask=packer.dense_mask)
    passes = Passes(packer, losses, model, kept)

    def backward(part: Part, *, compute: Any, is_last: bool, overrides: Any = None) -> torch.Tensor:
        del is_last
        with passes.checkpointing(part):
            assert is_checkpointing(model) == (kept is not None and part["input_ids"].numel() > kept)
            loss = compute({**part, **(overrides or {})})
            loss.backward()
        return loss.detach()  # type: ignore[no-any-return]

    @torch.no_grad()
    def forward(part: Part, compute: Any) -> torch.Tensor:
        return compute(part)  # type: ignore[no-any-return]

    def reference() -> AbstractContextManager[None]:
        return model.disable_adapter()  # type: ignore[no-any-return]

    parts, known = Collator(rows, packer, objective, world=world).pack(rows)
    if known.idle is not None:
        parts += [known.idle] * (world.all_max(len(parts)) - len(parts))
    step = OptimizerStep(objective, losses, reference, world)
    step.keeps_graphs = keeps_graphs
    made = step(parts, known, backward, forward)
    return made.loss.item(), gradients(model), made.metrics


def same(made: Made, expected: Made) -> None:
    assert made[0] == pytest.approx(expected[0], rel=EXACT)
    assert made[1].keys() == expected[1].keys()
    for name, gradient in made[1].items():
        assert float((gradient - expected[1][name]).norm() / expected[1][name].norm()) < EXACT, name
    if expected[2]:
        assert dict(made[2]) == pytest.approx(dict(expected[2]), rel=EXACT)


@pytest.mark.parametrize("name", KINDS)
def test_a_step_has_the_loss_and_gradients_of_autograd_however_it_is_cut(
    name: str, model: Any, of_docs: Callable[[str, str], Objective]
) -> None:
    objective, rows = checked(name, of_docs)
    expected = autograd(model, objective, rows)
    linear = objective.linear
    for packing in Packing:
        for size, together in ((1, True), (3, True), (100, True), (1, False), (3, False)):
            packer = Packer(packing, size, 0, dense_mask=True, together=together and not linear)
            # What keeps no graphs scores the rows first.
            made = by_step(model, objective, rows, packer, keeps_graphs=packing is not Packing.tree)
            same((made[0], made[1], {} if linear else made[2]), (*expected[:2], {} if linear else expected[2]))


def of_all_logits(logits: torch.Tensor, target: torch.Tensor, teacher: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the losses of the page at some tokens, from their logits."""
    cross_entropy = torch.nn.functional.cross_entropy
    student, taught = logits.softmax(-1), teacher.softmax(-1)
    middle = (student + taught) / 2
    return {
        "smoothed": cross_entropy(logits, target, label_smoothing=0.1, reduction="sum"),
        "z_loss": cross_entropy(logits, target, reduction="sum") + 1e-4 * logits.exp().sum(-1).log().square().sum(),
        "entropy_bonus": cross_entropy(logits, target, reduction="sum") + 0.01 * (student * student.log()).sum(),
        "gkd": sum((each * (each / middle).log()).sum() for each in (student, taught)) / 2,  # type: ignore[dict-item] # a tensor
        "from_reference": (student * (student / taught).log()).sum(),
    }


def kl(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The divergence of all ids from the reference."""
    log_probs = logits.log_softmax(-1)
    return (log_probs.exp() * (log_probs - reference.log_softmax(-1))).sum(-1)


@loss(of_logits=[kl])
def from_reference(scores: TokenScores) -> Any:
    """How far the model is from its reference."""
    return sum(row.sum() for rows in scores.of_logits["kl"] for row in rows) / scores.tokens


@pytest.mark.parametrize("name", ["smoothed", "z_loss", "entropy_bonus", "gkd", "from_reference"])
def test_a_loss_of_all_logits_is_the_one_that_is_computed_from_them(
    name: str, model: Any, of_docs: Callable[[str, str], Objective], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework_plugins.hf.loss.chunked_cross_entropy.CPU_FP32_LOGITS", 1 << 15)  # 4 tokens
    vocabulary, draw = model.config.vocab_size, np.random.default_rng(1)
    rows: list[TokenGroup] = [
        GroupedRows(
            group.rows, arrays={"teacher_logits": (draw.normal(size=(len(group.rows[0].learned), vocabulary)),)}
        )
        for group in groups("rows")
    ]
    function: Any = from_reference
    file = "gkd.py" if name == "gkd" else "whole.py"
    made = function.create(function.schema()) if name == "from_reference" else of_docs(file, name)
    objective = CheckedObjective(made, f"loss={name}", 1000, plain=False)
    objective.check(rows)
    model.zero_grad()
    total: Any = 0.0
    for group in rows:
        (row,) = group.rows
        learned = torch.tensor([label != IGNORE for label in row.labels[1:]])

        def logits(row: TokenRow = row, learned: torch.Tensor = learned) -> torch.Tensor:
            return model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1][learned]  # type: ignore[no-any-return]

        with torch.no_grad(), model.disable_adapter():
            start = logits()
        teacher = start if name == "from_reference" else torch.from_numpy(group.arrays["teacher_logits"][0])
        total = total + of_all_logits(logits(), torch.tensor(row.learned), teacher)[name]
    total = total / sum(len(row.learned) for group in rows for row in group.rows)
    total.backward()
    expected: tuple[float, dict[str, torch.Tensor], dict[str, float]] = total.item(), gradients(model), {}
    for packing, size, keeps in ((Packing.none, 1, True), (Packing.tree, 3, False), (Packing.pad, 100, True)):
        packer = Packer(packing, size, 0, dense_mask=True, together=True)
        same(by_step(model, objective, rows, packer, keeps_graphs=keeps), expected)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda logits: logits, r"of_logits=<lambda> returns \(\d+, \d+\) for logits of \d+ tokens"),
        (lambda logits: logits / None, "of_logits=<lambda>: TypeError"),
    ],
)
def test_a_function_of_logits_that_is_wrong_is_named(function: Any, message: str, model: Any) -> None:
    objective: Any = of_plugin("by_row")
    objective.linear, objective.of_logits = False, (function,)
    with pytest.raises(FrameworkError, match=message):
        by_step(
            model,
            CheckedObjective(objective, "loss=mine", 1000, plain=False),
            groups("rows"),
            Packer(Packing.pad, 3, 0),
        )


@settings(max_examples=examples(12))
@given(
    packing=st.sampled_from(Packing), rows=st.integers(1, 9), tokens=st.integers(1, 600), kept=st.integers(0, 600),
    share=st.booleans(),
)  # fmt: skip
def test_a_step_is_the_same_in_passes_of_any_number_of_tokens_kept_or_computed_again(
    packing: Packing, rows: int, tokens: int, kept: int, model: Any, *, share: bool
) -> None:
    objective, some = CheckedObjective(CrossEntropy(CrossEntropyConfig()), "", 1000, plain=True), groups("rows")
    packer = Packer(packing, rows, 0, dense_mask=True, tokens=tokens, share=share)
    expected = by_step(model, objective, some, Packer(Packing.none, 1, 0))
    same(by_step(model, objective, some, packer, kept=kept), expected)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [7, 1])
def test_two_processes_make_the_step_of_one(
    name: str, count: int, model: Any, folder: Path, of_docs: Callable[[str, str], Objective]
) -> None:
    objective, rows = checked(name, of_docs)
    rows = rows[:count]
    expected = by_step(model, objective, rows, Packer(Packing.pad, 2, 0, together=not objective.linear))
    world, found, meet = 2, dict[int, Made](), threading.Barrier(2)
    shared: list[Any] = [None] * world

    def process(rank: int) -> None:
        def all_gather(mine: Any) -> list[Any]:
            shared[rank] = mine
            meet.wait(60)
            every = list(shared)
            meet.wait(60)
            return every

        packer = Packer(Packing.pad, 2, 0, together=not objective.linear)
        found[rank] = by_step(copies[rank], objective, rows, packer, World(rank, world, all_gather))

    copies = [adapted(folder) for _ in range(world)]
    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mean = {
        name: torch.stack([made[1].get(name, torch.zeros_like(one)) for made in found.values()]).mean(0)
        for name, one in expected[1].items()
    }
    same((sum(made[0] for made in found.values()) / world, mean, found[0][2]), expected)


def test_a_plain_loss_asks_for_no_weights_and_has_those_of_any_linear_one(model: Any) -> None:
    rows = groups("rows")
    plain, other = (CheckedObjective(CrossEntropy(CrossEntropyConfig()), "", 1000, each) for each in (True, False))
    weights, constant = other.weights(rows, None)
    assert all(bool((each == 1).all()) for each in weights)
    assert float(constant) == 0
    packer = Packer(Packing.tree, 100, 0, dense_mask=True)
    assert Collator(rows, packer, plain).pack(rows)[1].groups == ()
    same(by_step(model, plain, rows, packer), by_step(model, other, rows, packer))


def test_the_rows_of_a_group_stay_in_one_pass_and_share_their_beginning() -> None:
    pairs = groups("pairs")
    for packing in Packing:
        packer = Packer(packing, 1, 0, together=True)
        for part, located in packer.parts_with_rows(pairs):
            rows = [id(row) for row, _ in located]
            for group in pairs:
                assert len({id(row) in rows for row in group.rows}) == 1
            if packing is Packing.tree:
                assert part["input_ids"].numel() < sum(len(row.input_ids) for row, _ in located)
    last = Packer(Packing.pad, 1, 0, together=True).smaller(pairs)
    assert last == Packer(Packing.pad, 1, 0)


def went_backward(value: Any) -> Any:
    value.backward()
    return value


def cancel(_: Any) -> None:
    raise asyncio.CancelledError


MISTAKES = {
    "nothing": (lambda _: None, "loss=untrue returns NoneType: return a LossValue"),
    "text": (lambda _: LossValue("1"), "loss=untrue returns str: return a LossValue"),
    "vector": (lambda scores: scores.policy[0][0], r"returns a tensor of the shape \(2,\): return a scalar"),
    "constant": (lambda _: torch.tensor(1.0), "does not depend on `scores.policy`"),
    "nan": (lambda scores: scores.policy[0][0].sum() * float("nan"), "returns nan for log-probabilities"),
    "constant with a gradient": (lambda _: torch.tensor(1.0, requires_grad=True), "does not depend on `scores.policy`"),
    "complex": (lambda scores: scores.policy[0][0].sum() * 1j, "returns a tensor of the type torch.complex"),
    "meta": (lambda scores: scores.policy[0][0].sum().to("meta"), "returns a tensor on the meta device"),
    "backward": (
        lambda scores: went_backward(scores.policy[0][0].sum().square()),
        "loss=untrue: it has no gradient by `scores.policy`: RuntimeError",
    ),
    "metric as text": (
        lambda scores: LossValue(scores.policy[0][0].sum(), {"share": "much"}),
        "loss=untrue: its metric 'share' is 'much': return a number",
    ),
    "metrics without names": (
        lambda scores: LossValue(scores.policy[0][0].sum(), cast("Any", {1: 2.0})),
        "loss=untrue: its metric 1 is 2.0: return a",
    ),
    "too large a metric": (
        lambda scores: LossValue(scores.policy[0][0].sum(), {"a": 10**400}),
        "loss=untrue: its metric 'a' is 1000",
    ),
    "exits": (lambda _: sys.exit(0), r"loss=untrue: SystemExit: 0 \(.*test_step.py:\d+\)"),
    "cancelled": (cancel, r"loss=untrue: CancelledError: no message \(.*test_step.py:\d+\)"),
    "raises": (lambda _: 1 / 0, r"loss=untrue: ZeroDivisionError: division by zero \(.*test_step.py:\d+\)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_not_a_loss_is_refused_by_name(mistake: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    function, message = MISTAKES[mistake]
    monkeypatch.setattr(pairs_plugin, "RETURNS", [function])
    objective = CheckedObjective(of_plugin("untrue"), "loss=untrue", 1000, plain=False)
    with pytest.raises(FrameworkError, match=message):
        by_step(model, objective, groups("rows"), Packer(Packing.pad, 100, 0, together=True))


def test_a_loss_that_says_that_it_is_linear_and_is_not_is_refused() -> None:
    @loss(linear=True)
    def squared(scores: TokenScores) -> Any:
        """The square of the mean."""
        return sum(row.square().sum() for rows in scores.policy for row in rows) / scores.tokens

    @loss(linear=True)
    def weighted(scores: TokenScores) -> Any:
        """A mean, with a constant."""
        return 3 - sum(row.sum() for rows in scores.policy for row in rows) / scores.tokens

    made: Any = squared
    with pytest.raises(FrameworkError, match="loss=squared says linear=True, and is not a weighted sum of the scores"):
        CheckedObjective(made.create(made.schema()), "loss=squared", 1000, plain=False).check(groups("rows"))
    made = weighted
    CheckedObjective(made.create(made.schema()), "loss=weighted", 1000, plain=False).check(groups("rows"))


def test_a_loss_that_divides_by_what_is_in_a_pass_is_refused() -> None:
    @loss
    def by_pass(scores: TokenScores) -> Any:
        """The mean of the rows of a pass."""
        rows = [row.square().mean() for rows in scores.policy for row in rows]
        return sum(rows) / len(rows)

    made: Any = by_pass
    with pytest.raises(FrameworkError, match=r"loss=by_pass is \S+ for a step in one pass and \S+ for the same"):
        CheckedObjective(made.create(made.schema()), "loss=by_pass", 1000, plain=False).check(groups("rows"))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros((1, 4), np.int32), r"rows:1 has ids of the shape \(1, 4\) for 2 learned tokens"),
        (np.full((2, 4), 5000, np.int32), "rows:1 has the id 5000, and the model has 1000 tokens"),
    ],
)
def test_ids_that_do_not_fit_are_refused(ids: Any, message: str, of_docs: Callable[[str, str], Objective]) -> None:
    objective, rows = checked("distill", of_docs)
    arrays = {"teacher_ids": (ids,), "teacher_log_probs": (np.zeros((2, 4)),)}
    with pytest.raises(FrameworkError, match=message):
        objective.ids([GroupedRows(rows[0].rows, arrays=arrays)])


def test_dropout_falls_on_the_same_places_when_rows_are_scored_first(folder: Path) -> None:
    """The weights of a linear loss are known, so scoring first has to come to the same."""
    linear = CheckedObjective(of_plugin("by_row"), "loss=by_row", 1000, plain=False)
    other: Any = of_plugin("by_row")
    other.linear, other.whole_step = False, True
    model = adapted(folder)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    made = []
    for objective in (linear, CheckedObjective(other, "loss=by_row", 1000, plain=False)):
        torch.manual_seed(1)
        made.append(by_step(model, objective, groups("rows"), Packer(Packing.pad, 2, 0), keeps_graphs=False))
    same(made[1], made[0])
