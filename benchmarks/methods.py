"""Trainings of each method beside TRL's: losses, weights and logged metrics of all steps, and why any differ.

    .venv/bin/python -m benchmarks.methods                    the table; exit code 1 if a bound is exceeded
    .venv/bin/python -m benchmarks.methods --only kto bf16    the cases with one of these words in their names
    .venv/bin/python -m benchmarks.methods --dtype fp64       in double precision: what is rounding becomes small
    .venv/bin/python -m benchmarks.methods --page             writes docs/reference/methods-beside-trl.md

A tiny random model learns the same rows in the same order from the same LoRA start, in one process, with both
trainers. TRL is given the token ids of our rows, and the answers and rewards that our GRPO drew; all else is its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import OUT, command_line, table_row

BOUND = 1e-5
NEAR = 2 * BOUND
"""The largest difference of a loss, relative to losses above 1, that needs no reason."""
STEPS, BATCH, RATE = 8, 4, 1e-3
PAGE = Path(__file__).parents[1] / "docs/reference/methods-beside-trl.md"
IGNORED = {"epoch", "learning_rate", "num_tokens", "step_time", "loss", "grad_norm", "step"}
"""What TRL logs under these names is a field of our steps, or its clock."""
START = "TRAINED"
"""Stands for the folder of a trained adapter."""
OF_REWARD = "rewards/<lambda>"
"""How TRL calls the reward, whose values it is given."""
ESTIMATED = {"entropy"}
"""What is estimated here, from the tokens that were drawn."""
STEEP = "the loss is steep, so the last digits of a log-probability count; not shown to be rounding alone"
NOISE = "rounding: in the first step both rewards are 0, and `rewards/accuracies` compares their last digits"
DROPOUT = "TRL switches dropout off (`disable_dropout`); here it acts in the passes that learn"
A_DRAW = "the loss is divided by the tokens of each step, and by TRL by the mean over the steps of a draw"
MICRO = "TRL takes the mean over a micro-batch, and here it is over the optimizer step"


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        name: of the row.
        method: of both.
        words: settings of ours.
        trl: settings of TRL.
        why: the reason of a difference beyond `BOUND`.
        bound: how far the loss may be from TRL's, by this reason; None: it is another loss.
        dropout: of attention, in the config of the model.
        shared: whether several rows have one question.
        uncut: whether TRL is given the rows as they are before `data.overflow`.
    """

    name: str
    method: str
    words: tuple[str, ...] = ()
    trl: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    bound: float | None = BOUND
    dropout: float = 0.0
    shared: bool = False
    uncut: bool = False


def case(method: str, name: str, *words: str, **more: Any) -> Case:
    """Return a case; the other names are settings of TRL."""
    own = {each: more.pop(each) for each in ("why", "bound", "dropout", "shared", "uncut") if each in more}
    return Case(f"{method}, {name}", method, words, more, **own)


dpo, kto, grpo = (partial(case, method) for method in ("dpo", "kto", "grpo"))


def dpo_loss(kind: str, why: str = "", bound: float = BOUND, **more: Any) -> Case:
    """Return a case of a loss of DPO; settings have one name in both."""
    words = [f"method.{name}={value}" for name, value in more.items()]
    given = " ".join(f"{name}={value}" for name, value in more.items())
    name, kinds = f"{kind} {given}".strip(), kind.split("+")
    return dpo(name, f"method.loss_type=[{','.join(kinds)}]", *words, why=why, bound=bound, loss_type=kinds, **more)


CASES = (
    *map(dpo_loss, ("sigmoid", "hinge", "ipo", "sigmoid_norm", "nca_pair", "bco_pair", "apo_zero", "apo_down", "sft")),
    *map(dpo_loss, ("aot", "aot_unpaired", "sigmoid+sft")),
    dpo_loss("sppo_hard", STEEP, 1e-3),
    dpo_loss("discopop", STEEP, 1e-3),
    dpo_loss("exo_pair", label_smoothing=0.1),
    dpo_loss("robust", label_smoothing=0.1),
    dpo_loss("sigmoid", beta=0.01),
    dpo_loss("sigmoid", STEEP, 1e-3, beta=1.0),
    dpo_loss("sigmoid", STEEP, 1e-2, beta=10.0),
    *(
        dpo_loss(kind, STEEP, 1e-2, f_divergence_type=divergence, **more)
        for divergence, more in (
            ("forward_kl", {}), ("js_divergence", {}), ("alpha_divergence", {"f_alpha_divergence_coef": 0.3}),
        )
        for kind in ("sigmoid", "ipo")
    ),
    dpo_loss("sigmoid", ld_alpha=0.5),
    dpo("packing=none", "trainer.packing=none", why=NOISE),
    dpo("packing=pad", "trainer.packing=pad", why=NOISE),
    dpo("passes of 100 tokens", "trainer.tokens_per_pass=100", why=NOISE),
    dpo("rows cut at 60 tokens", "trainer.max_seq_length=60", "data.overflow=truncate"),
    dpo("rows that TRL cuts at 60 tokens", "trainer.max_seq_length=60", "data.overflow=truncate", max_length=60,
        uncut=True),
    dpo("adapter=dora", "adapter=dora", why=NOISE),
    dpo("adapter=full", "adapter=full"),
    dpo("adapter.start", f"adapter.start={START}"),
    dpo("lora_dropout=0.3", "adapter.lora_dropout=0.3", why=DROPOUT, bound=None),
    dpo("attention_dropout=0.1 of the model", why=DROPOUT, bound=None, dropout=0.1),
    dpo("bf16", "trainer.dtype=bf16", why="rounding in 16 bits", bound=0.1, bf16=True),
    dpo("NEFTune", "trainer.neftune_noise_alpha=5", neftune_noise_alpha=5, bound=None, why="other random numbers"),
    kto("kto"),
    kto("apo_zero_unpaired", "method.loss_type=apo_zero_unpaired", loss_type="apo_zero_unpaired"),
    kto("beta=0.5", "method.beta=0.5", beta=0.5),
    kto("weights 1.3 and 0.5", "method.desirable_weight=1.3", "method.undesirable_weight=0.5", desirable_weight=1.3,
        undesirable_weight=0.5),
    kto("passes of 100 tokens", "trainer.tokens_per_pass=100"),
    kto("adapter=full", "adapter=full"),
    kto("rows cut at 60 tokens", "trainer.max_seq_length=60", "data.overflow=truncate", max_length=60),
    kto("rows that TRL cuts at 60 tokens", "trainer.max_seq_length=60", "data.overflow=truncate", max_length=60,
        uncut=True, bound=None, why="an answer that the KL is measured with was cut after its own question"),
    kto("questions with two answers", why="an answer is compared with one to another question; TRL takes the previous "
        "row, whatever it asks", bound=None, shared=True),
    kto("2 passes of 2 rows", "trainer.per_device_train_batch_size=2", "trainer.gradient_accumulation_steps=2",
        why=MICRO, bound=None, per_device_train_batch_size=2, gradient_accumulation_steps=2),
    *(grpo(kind, f"method.loss_type={kind}", loss_type=kind) for kind in ("dapo", "bnpo", "dr_grpo", "grpo")),
    grpo("scale_rewards=batch", "method.scale_rewards=batch", scale_rewards="batch"),
    *(
        grpo(f"beta=0.3 {word}".strip(), "method.beta=0.3", *word.split(), beta=0.3)
        for word in ("", "adapter=full", f"adapter.start={START}")
    ),
    grpo("2 iterations, sequence, beta=1", "method.num_iterations=2", "method.importance_sampling_level=sequence",
         "method.beta=1", "method.epsilon=0.02", num_iterations=2, importance_sampling_level="sequence", beta=1.0,
         epsilon=0.02),
    grpo("2 steps a draw, grpo", "method.steps_per_generation=2", "method.loss_type=grpo", "method.epsilon=0.02",
         steps_per_generation=2, loss_type="grpo", epsilon=0.02),
    grpo("2 steps a draw, dapo", "method.steps_per_generation=2", "method.epsilon=0.02", steps_per_generation=2,
         epsilon=0.02, bound=None, why=A_DRAW),
    grpo("mask_truncated_completions", "method.mask_truncated_completions=true", mask_truncated_completions=True),
    grpo("temperature=0.7", "method.temperature=0.7", temperature=0.7),
    grpo("passes of 100 tokens", "trainer.tokens_per_pass=100"),
)  # fmt: skip


@dataclass
class Trained:
    """What a training gave: its losses and metrics by step, and the weights that it changed."""

    losses: list[float]
    metrics: list[Mapping[str, float]]
    weights: dict[str, Any]


@dataclass(frozen=True)
class Beside:
    """Two trainings of a case.

    Attributes:
        first: the loss of the first step.
        last: the loss of the last one.
        loss: the largest difference of a loss, relative to losses above 1.
        weights: the distance of the trained weights, relative to the way that TRL's went.
        metrics: the largest differences of metrics by name, relative to values above 1.
        missing: what TRL logs and this program does not.
    """

    first: float
    last: float
    loss: float
    weights: float
    metrics: Mapping[str, float]
    missing: Sequence[str]


def rows_of(case: Case, file: Path) -> None:
    """Write the rows of a case."""
    lines: list[dict[str, Any]] = []
    for number in range(STEPS * BATCH // 2):
        asked = f"Which number follows {number // 2 if case.shared else number}, and why do you think so?"
        good, bad = f"It is {number + 1}, one more." * (1 + number % 3), "I would say odd." * (1 + number % 4)
        if case.method == "dpo":
            lines.append({"prompt": asked, "chosen": good, "rejected": bad})
        elif case.method == "kto":
            lines.append({"prompt": asked, "completion": bad if number % 2 else good, "label": number % 2 == 0})
        else:
            lines.append({"prompt": [{"role": "user", "content": asked}]})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def plan_of(case: Case, base: Path, folder: Path) -> Any:
    """Return our plan of a case."""
    from framework.api.program import make_plan
    from framework.testing import compose

    rows_of(case, folder / "rows.jsonl")
    formats = {"dpo": "preference"}
    return make_plan(
        compose([
            "model=local", f"model.path={base}", "data=local_file", f"data.path={folder / 'rows.jsonl'}",
            f"method={case.method}", f"format={formats.get(case.method, 'auto')}", "data.validation_split=0",
            "audit=[]", "evaluator=[]", "exporter=[]", "logger=[]", "trainer.device=cpu", "trainer.dtype=fp32",
            "seed=1",
            f"trainer.max_steps={STEPS}", f"trainer.learning_rate={RATE}", "schedule=constant",
            "trainer.warmup_steps=0", f"trainer.per_device_train_batch_size={BATCH}",
            "trainer.gradient_accumulation_steps=1", "stages=[data,train]",
            *(["reward=[length]", "method.num_generations=4", "method.max_completion_length=12"]
              if case.method == "grpo" else []),
            *([] if "adapter=full" in case.words else ["adapter.r=4"]),
            *(word.replace(START, str(base / START)) for word in case.words),
        ]),
        run_dir=folder / "run",
    )  # fmt: skip


def trained_adapter(base: Path) -> None:
    """Write an adapter that says something."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=32, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(base / START)


def vowels(text: str) -> float:
    """Return a reward that differs from answer to answer."""
    return sum(map(text.count, "aeiou")) / 4 + len(text) % 3 / 7


@contextlib.contextmanager
def double(*, wanted: bool) -> Iterator[None]:
    """Keep adapters and the scores of the reference in double precision, which a run has in single."""
    from framework_plugins.hf.train import reference, training
    from framework_plugins.hf.train.reference import StartScores, row_key

    if not wanted:
        yield
        return
    count, add = training.count_trainable, StartScores.add

    def keep(self: StartScores, row: Any, log_probs: Any) -> None:
        self._known[row_key(row)] = log_probs.detach().cpu().numpy()

    training.count_trainable = lambda model: sum(each.numel() for each in model.parameters() if each.requires_grad)
    StartScores.add = keep  # type: ignore[method-assign]
    try:
        yield
    finally:
        training.count_trainable, reference.StartScores.add = count, add  # type: ignore[method-assign]


def ours(case: Case, plan: Any, folder: Path, *, wide: bool) -> tuple[Trained, Any, list[Any], list[Any]]:
    """Train with this program; return what it gave, the model as it began, its rows by step, and its draws."""
    from framework.api import Rewards
    from framework.api.program import load_data
    from framework.api.training import TrainRun
    from framework_plugins.hf.settings.config import Packing
    from framework_plugins.hf.train.order import row_order, steps_of

    steps: list[Any] = []
    draws: list[Any] = []

    def reward(prompts: Sequence[Any], answers: Sequence[Any], **_: Any) -> Rewards:
        del prompts
        values = [vowels(answer.text) for answer in answers]
        draws.append((answers, values))
        return Rewards([*values], {"length": [*values]}, {"length": 1.0})

    with double(wanted=wide), plan.trainer.create().open(plan) as model:
        data = load_data(plan, model)
        model.open_losses()  # loads the weights
        if wide:
            model.model.double()
        start = {name: weight.detach().clone() for name, weight in model.model.named_parameters()}
        config = getattr(model.model, "peft_config", {}).get("default")
        by_length = plan.trainer.config.packing is Packing.pad
        order = row_order(plan, data.train_groups, plan.batch, by_length=by_length)
        batches = [[data.train_groups[number] for number in numbers] for numbers in steps_of(order, STEPS)]
        more: dict[str, Any] = {"reward": reward, "prompts": data.train_prompts} if case.method == "grpo" else {}
        model.train(data.train_groups, [], TrainRun(folder / "out", folder / "scratch", steps.append, **more))
        weights = {name: each.detach().clone() for name, each in model.model.named_parameters() if each.requires_grad}
    made = Trained([step.loss for step in steps], [step.loss_metrics for step in steps], weights)
    return made, (start, config), batches, draws


def trl(
    case: Case, plan: Any, start: Any, batches: Sequence[Any], draws: Sequence[Any], folder: Path, dtype: Any
) -> Trained:
    """Train with TRL's trainer on these rows, from this start."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import DPOConfig, GRPOConfig, KTOConfig

    place = plan.model.config.path
    weights, config = start
    model: Any = AutoModelForCausalLM.from_pretrained(place, dtype=dtype)
    if config is not None:
        plain = {name: value for name, value in config.to_dict().items() if name in LoraConfig.__dataclass_fields__}
        model = get_peft_model(model, LoraConfig(**plain))
    for name, weight in model.named_parameters():
        weight.data.copy_(weights[name])
    options, passes = plan.optimizer.config, case.trl.get("gradient_accumulation_steps", 1)
    settings: dict[str, Any] = {
        "output_dir": str(folder / "trl"), "use_cpu": True, "bf16": False, "report_to": [], "logging_steps": 1,
        "per_device_train_batch_size": BATCH, "learning_rate": RATE, "max_steps": STEPS, "disable_tqdm": True,
        "lr_scheduler_type": "constant", "warmup_steps": 0, "weight_decay": plan.training.weight_decay, "seed": 1,
        "adam_beta1": options.betas[0], "adam_beta2": options.betas[1], "adam_epsilon": options.eps,
        "max_grad_norm": plan.training.max_grad_norm, "save_strategy": "no", "gradient_checkpointing": False,
        "optim": "adamw_torch", "train_sampling_strategy": "sequential",
    }  # fmt: skip
    kind = {"dpo": DPOConfig, "kto": KTOConfig, "grpo": GRPOConfig}[case.method]
    if case.method == "grpo":
        settings |= {
            "per_device_train_batch_size": BATCH * 4, "num_generations": 4, "max_completion_length": 12, "beta": 0.0,
            "steps_per_generation": 1, "shuffle_dataset": False,
        }  # fmt: skip
    else:
        settings["max_length"] = None
    args = kind(**settings | dict(case.trl))
    trainer_class, lines = _trainer(case.method, batches, draws)
    own: dict[str, Any] = {"reward_funcs": lambda **_: []} if case.method == "grpo" else {}
    trainer = trainer_class(
        model=model, args=args, train_dataset=Dataset.from_list(lines),
        processing_class=AutoTokenizer.from_pretrained(place), **own,
    )  # fmt: skip
    assert case.method == "grpo" or passes * args.per_device_train_batch_size == BATCH
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    trained = {name: each.detach().clone() for name, each in trainer.model.named_parameters() if name in weights}
    return Trained([entry["loss"] for entry in logged], logged, trained)


def _trainer(method: str, batches: Sequence[Any], draws: Sequence[Any]) -> tuple[Any, list[dict[str, Any]]]:
    """Return TRL's trainer, and the rows that it is given as they are."""
    import torch
    from trl import DPOTrainer, GRPOTrainer, KTOTrainer
    from trl.trainer import grpo_trainer

    from framework.api.training import TokenRow

    def parts(row: Any) -> tuple[list[int], list[int]]:
        begin = next(place for place, label in enumerate(row.labels) if label != TokenRow.IGNORE)
        return row.input_ids[:begin], row.input_ids[begin:]

    if method == "grpo":
        # TRL deals the answers of a draw out to its steps at random; here each step has those to its own prompts.
        grpo_trainer.shuffle_sequence_dict = lambda batch: batch
        left = iter(draws)

        class Stored(GRPOTrainer):
            """On answers that were drawn, and their rewards."""

            def _generate(self, prompts: list[Any]) -> Any:
                answers: list[Any] = []
                self.given: list[float] = []
                while len(answers) < len(prompts):
                    some, values = next(left)
                    answers += some
                    self.given += values
                both = [parts(answer.row) for answer in answers]
                texts = [answer.text for answer in answers]
                return [each for each, _ in both], [each for _, each in both], None, texts, None, {}, None, None

            def _calculate_rewards(self, *_: Any) -> Any:
                return torch.tensor(self.given).reshape(-1, 1)

        return Stored, [{"prompt": [{"role": "user", "content": "?"}]} for _ in range(STEPS * BATCH)]

    class Given:
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    lines: list[dict[str, Any]] = []
    for batch in batches:
        if method == "dpo":
            for group in batch:
                (asked, chosen), (_, rejected) = map(parts, group.rows)
                lines.append({"prompt_ids": asked, "chosen_ids": chosen, "rejected_ids": rejected})
            continue
        both = [parts(group.rows[0]) for group in batch]
        for (asked, answer), (_, other), group in zip(both, [both[-1], *both[:-1]], batch, strict=True):
            lines.append({
                "prompt_ids": asked, "completion_ids": answer, "KL_completion_ids": other,
                "label": group.facts["desirable"] > 0,
            })  # fmt: skip
    kind: Any = {"dpo": DPOTrainer, "kto": KTOTrainer}[method]
    return type("Given", (Given, kind), {}), lines


def compare(case: Case, base: Path, *, wide: bool) -> Beside:
    """Train both."""
    import torch

    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(place)
        os.environ["FRAMEWORK_CACHE"] = str(folder / "cache")
        source = base
        if case.dropout:
            source = folder / "model"
            source.mkdir()
            for file in filter(Path.is_file, base.iterdir()):
                (source / file.name).write_bytes(file.read_bytes())
            settings = json.loads((source / "config.json").read_text("utf-8")) | {"attention_dropout": case.dropout}
            (source / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        plan = plan_of(case, source, folder)
        made, start, batches, draws = ours(case, plan, folder, wide=wide)
        if case.uncut:
            whole = whole_rows(case, source, folder / "whole")
            batches = [[whole[group.where.rpartition(":")[2]] for group in batch] for batch in batches]
        theirs = trl(case, plan, start, batches, draws, folder, torch.float64 if wide else torch.float32)
    pairs = [*zip(made.losses, theirs.losses, strict=True)]
    loss = max(_apart(one, other) for one, other in pairs)
    logged = {name for entry in theirs.metrics for name in entry if not name.startswith(OF_REWARD)}
    names = sorted(logged - IGNORED)
    metrics, missing = {}, []
    for name in names:
        values = [
            (one[name], other[name])
            for one, other in zip(made.metrics, theirs.metrics, strict=True)
            if name in one and name in other
        ]
        if values:
            metrics[name] = max(_apart(*value) for value in values)
        else:
            missing.append(name)
    changed = [name for name in made.weights if name in theirs.weights]
    apart, way = (
        torch.cat([(theirs.weights[name] - other[name]).double().flatten() for name in changed]).norm()
        for other in (made.weights, start[0])
    )
    return Beside(made.losses[0], made.losses[-1], loss, float(apart / way), metrics, missing)


def whole_rows(case: Case, base: Path, folder: Path) -> dict[str, Any]:
    """Return the rows of a case by their places, as they are before they are cut."""
    from framework.api.program import load_data

    folder.mkdir()
    plan = plan_of(replace(case, words=()), base, folder)
    with plan.trainer.create().open(plan) as model:
        return {group.where.rpartition(":")[2]: group for group in load_data(plan, model).train_groups}


def _apart(one: float, other: float) -> float:
    return abs(one - other) / max(1.0, abs(other))


def farthest(found: Beside) -> tuple[float, str]:
    """Return the largest difference of a metric that TRL computes too, and the metric."""
    return max(((value, name) for name, value in found.metrics.items() if name not in ESTIMATED), default=(0.0, ""))


def line(case: Case, found: Beside, exact: Beside | None = None) -> str:
    """Return the row of a case; `exact` is the same in double precision."""
    most, name = farthest(found)
    wide = "" if exact is None else f"{exact.loss:.1e}"
    beyond = f" (`{name}`)" if most > 10 * BOUND else ""
    return table_row(case.name, f"{found.loss:.1e}", wide, f"{found.weights:.1e}", f"{most:.1e}{beyond}")


INTRO = """# Methods beside TRL

What `python -m benchmarks.methods --page` measured with trl {trl}, transformers {transformers} and torch {torch}.
A tiny random model learns the same {rows} rows in {steps} steps, from the same weights, with both trainers. `loss` is
the largest difference of a loss, relative to losses above 1; `weights` is the distance of the trained weights, relative
to the way that TRL's went. The program ends with 1 if a difference is above {bound:g}, or the bound of its reason.

`in fp64` is the difference of the losses with weights in double precision. Some parts are in fp32 even
then, so a difference that stays may still be rounding.

Loss, weights and metrics differ by less than {near:g}: {equal}.

The others:
"""
OUTRO = """
Logged by TRL and not here: {missing}. They need logits, which no objective has, or are extremes of what is logged.
`entropy` of GRPO is estimated from the drawn tokens, and was up to {entropy:.1g} away from TRL's. With several steps a
draw, TRL deals the answers out to the steps at random, and here each step has those to its own prompts; the benchmark
leaves them in their order. TRL logs `completions/…` while it generates, and here it is given the answers.
"""
COLUMNS = "training", "loss", "in fp64", "weights", "metrics"
HEAD = f"{table_row(*COLUMNS)}\n|---|--:|--:|--:|--:|"


def listed(names: Sequence[str]) -> str:
    """Return the names of cases, `dpo, hinge`, as `dpo (hinge; ipo)`."""
    by_method: dict[str, list[str]] = {}
    for method, _, rest in (name.partition(", ") for name in names):
        by_method.setdefault(method, []).append(rest)
    return ", ".join(f"{method} ({'; '.join(cases)})" for method, cases in by_method.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = command_line(__doc__)
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--dtype", choices=("fp32", "fp64"), default="fp32")
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args(arguments)
    from tests.support.tiny import tiny_llama

    lines, equal, beyond, missing, entropy = [HEAD], [], [], set[str](), 0.0
    reasons: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as place:
        base = tiny_llama(Path(place))
        trained_adapter(base)
        for case in CASES:
            if not any(word in case.name for word in asked.only):
                continue
            found = compare(case, base, wide=asked.dtype == "fp64")
            rounding = asked.page and case.bound is not None and found.loss > BOUND and "bf16" not in case.trl
            row = line(case, found, compare(case, base, wide=True) if rounding else None)
            OUT.print(row)
            if not case.why and max(found.loss, found.weights, farthest(found)[0]) < NEAR:
                equal.append(case.name)
            else:
                lines.append(row)
            if case.why:
                reasons.setdefault(case.why, []).append(case.name)
            missing |= {*found.missing}
            entropy = max(entropy, found.metrics.get("entropy", 0.0))
            if case.bound is not None and found.loss > case.bound:
                beyond.append(case.name)
    names = ", ".join(f"`{name}`" for name in sorted(missing)) or "nothing"
    text = OUTRO.format(missing=names, entropy=entropy)
    lines += ["", "Why some differ:", "", *(f"- {why}: {listed(cases)}." for why, cases in reasons.items())]
    if asked.page:
        libraries = {name: version(name) for name in ("trl", "transformers", "torch")}
        sizes = {"rows": STEPS * BATCH // 2, "steps": STEPS, "bound": BOUND, "near": NEAR}
        intro = INTRO.format(**libraries, **sizes, equal=listed(equal))
        PAGE.write_text(f"{intro}\n{chr(10).join(lines)}\n{text}", encoding="utf-8")
    OUT.print(f"{text}\nBeyond their bounds: {', '.join(beyond) or 'none'}.")
    return bool(beyond)


if __name__ == "__main__":
    sys.exit(main())
