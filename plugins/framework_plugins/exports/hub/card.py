"""The text of a model card: what a folder holds, how to use it, what it was trained on, and what that did.

Everything in it is read from the run. No path of this machine and no secret is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from framework.api.plan import Plan
from framework.api.records import DataResult, Report, TrainResult
from framework.api.text import count, difference, number, redact, share, visible
from framework_plugins.exports.hub.usage_snippets import Use

LIBRARIES = {"adapter": "peft", "merged": "transformers"}
"""Library names of the Hub, by kind of artifact."""
RELATIONS = {"adapter": "adapter", "gguf_adapter": "adapter", "merged": "finetune", "gguf": "quantized"}
"""How an artifact follows from its base, in the Hub's words."""
SAID = {
    "adapter": "An adapter for {base}, as peft saves it",
    "merged": "{base}, fine-tuned: a complete model for transformers",
    "gguf": "{base}, fine-tuned, as GGUF for llama.cpp and what builds on it",
    "gguf_adapter": "An adapter for {base} as GGUF, for llama.cpp",
    "ollama": "{base}, fine-tuned, with a Modelfile for Ollama",
}
NAMED = (
    "framework", "python", "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "tokenizers",
    "unsloth", "gguf",
)  # fmt: skip
"""Packages that are named, where they took part."""
TRAINING = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "max_seq_length", "warmup_steps", "warmup_ratio", "lr_scheduler_type", "optim", "weight_decay", "max_grad_norm",
)  # fmt: skip
"""Settings of every trainer that a reader wants to know."""
LONGEST = 600
"""Characters of a prompt or an answer; the middle of a longer one is left out."""
_PATH = re.compile(r"(?:[A-Za-z]:)?[\\/](?:[^\\/]*[\\/])*")


@dataclass(frozen=True)
class Folder:
    """What a card is of.

    Attributes:
        kinds: of the artifacts that lie in the folder.
        uses: how to use them.
        compared: how far each agrees with the trained model, by the name of its file, or of the folder.
    """

    kinds: Sequence[str]
    uses: Sequence[Use]
    compared: Mapping[str, str]


@dataclass(frozen=True)
class Answers:
    """A prompt, what the base answered, None where it was not asked, what the trained model did, and the reference."""

    prompt: str
    before: str | None
    after: str
    reference: str | None


@dataclass(frozen=True)
class Known:
    """The facts about a run.

    Attributes:
        plan: the run.
        report: its results so far.
        base: Hub id of the base; empty where it has none.
        base_name: what the base is called.
        license: identifier of the license; empty where it is unknown.
        of_base: whether it is the base's.
        datasets: Hub ids of the data.
        adapter: the settings of the adapter.
        elsewhere: whether the weights were trained by something else than this run.
        answers: some of the prompts with their answers.
    """

    plan: Plan
    report: Report
    base: str
    base_name: str
    license: str
    of_base: bool
    datasets: Sequence[str]
    adapter: Mapping[str, Any]
    elsewhere: bool
    answers: Sequence[Answers] = ()


def card(folder: Folder, known: Known) -> str:
    """Return README.md."""
    text = _template().render(
        title=plain(known.plan.name),
        what=f"{_what(folder, known)}.",
        verdict=known.report.verdict.lines if known.report.verdict else [],
        more=known.report.verdict.more if known.report.verdict else [],
        first=[row for row in _rows(known.report) if row["first"]],
        rest=[row for row in _rows(known.report) if not row["first"]],
        asked=_evaluation_data(known.report),
        sure=_sure(known.report),
        answers=[_quoted(one) for one in known.answers],
        uses=folder.uses,
        compared=folder.compared,
        data=[] if known.elsewhere or known.report.data is None else list(_data(known, known.report.data)),
        settings=list(_settings(known)),
        elsewhere="The weights were trained elsewhere; see `adapter_config.json`." if known.elsewhere else "",
        cost=_cost(known.report.train, known.report.hardware) if known.report.train else "",
        license=_license(known),
        versions=_versions(known.report.versions),
    )
    body = re.sub(r"\n{3,}", "\n\n", text).strip()
    return str(redact(f"---\n{_front_matter(folder, known)}\n---\n\n{body}\n"))


def plain(value: Any) -> str:
    """Return a value without the folders of a path in it, with what Markdown and HTML would read escaped."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    text = str(value)
    text = _PATH.sub("", text) if _PATH.match(text) else text
    return re.sub(r"[\\`*|<>\[\]]", r"\\\g<0>", text).replace("\n", " ")


@cache
def _template() -> Template:
    loader = PackageLoader("framework_plugins.exports", ".")
    return Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - Markdown
    ).get_template("card.md.jinja")


def _front_matter(folder: Folder, known: Known) -> str:
    """Return the front matter; what is not known is left out."""
    names = [f"lora-{name}" for name in ("dora", "rslora") if known.adapter.get(f"use_{name}")]
    tags = [*(kind.replace("_", "-") for kind in folder.kinds), "sft", *names]
    library = next((LIBRARIES[kind] for kind in folder.kinds if kind in LIBRARIES), None)
    relation = next((RELATIONS[kind] for kind in folder.kinds if kind in RELATIONS), None)
    data = ModelCardData(
        base_model=known.base or None,
        base_model_relation=relation if known.base else None,
        library_name=library,
        license=known.license or None,
        pipeline_tag="text-generation",
        datasets=list(known.datasets) or None,
        tags=list(dict.fromkeys(tags)),
    )
    return str(data.to_yaml()).strip()


def _what(folder: Folder, known: Known) -> str:
    base = f"[{known.base}](https://huggingface.co/{known.base})" if known.base else known.base_name
    sentences = [SAID[kind].format(base=base) for kind in folder.kinds if kind in SAID]
    return ". ".join(sentences) or f"{base}, fine-tuned"


def _rows(report: Report) -> Iterator[Mapping[str, str]]:
    for name, change in report.metrics.items():
        before, after = (
            "-" if value is None else number(value, name, change.unit) for value in (change.before, change.after)
        )
        words = change.outcome.value if change.outcome else ""
        row = {"name": plain(name), "before": before, "after": after, "words": words}
        row |= {"count": f"{change.pairs:,}" if change.pairs else "-", "first": "first" if change.primary else ""}
        yield row | {"difference": difference(change, name)}


def _quoted(answers: Answers) -> list[tuple[str, str]]:
    """Return the texts as blocks of Markdown with what they are: whatever stands in them ends no block."""
    texts = {"Prompt": answers.prompt, "Base": answers.before, "Fine-tuned": answers.after}
    texts["Reference"] = answers.reference
    return [(name, _block(text)) for name, text in texts.items() if text is not None]


def _block(text: str) -> str:
    text = visible(str(redact(text)), "\n").strip()
    text = text if len(text) <= LONGEST else f"{text[: LONGEST // 2].rstrip()} … {text[-LONGEST // 2 :].lstrip()}"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _evaluation_data(report: Report) -> str:
    """Say how many prompts were really asked, by the measure that was asked for first."""
    change = next((change for change in report.metrics.values() if change.primary and change.pairs), None)
    if change is not None:
        return f"the same {count(change.pairs + change.leaked, 'prompt')}"
    return f"the same {count(report.data.validation_rows, 'held-out row')}" if report.data else "the same data"


def _sure(report: Report) -> str:
    known = any(change.low is not None for change in report.metrics.values())
    return f"; differences with their {report.verdict.confidence:.0%} interval" if known and report.verdict else ""


def _data(known: Known, data: DataResult) -> Iterator[tuple[str, str]]:
    settings = known.plan.data.config
    place = next((value for name in ("path", "name") if (value := getattr(settings, name, None))), "")
    source = known.plan.data.component.name
    yield "source", f"{source}: {plain(place)}" if place else source
    yield "rows", f"{data.train_rows:,} to train, {data.validation_rows:,} held out"
    yield "format", ", ".join(map(plain, data.formats))
    if data.mixed:
        yield "mixed in", ", ".join(f"{part.rows:,} of {plain(part.name)}" for part in data.mixed)
    learned = share(data.supervised_tokens, data.tokens)
    yield "tokens", f"{data.tokens:,}, of which {data.supervised_tokens:,} ({learned}) are learned: the answers"
    yield "fingerprint", f"`{data.fingerprint}`"


def _settings(known: Known) -> Iterator[tuple[str, str]]:
    """Give the settings of the training: of weights that were trained elsewhere, those of the adapter alone."""
    plan = known.plan
    if not known.elsewhere:
        yield "method", f"supervised fine-tuning, `adapter={plan.adapter.component.name}`"
        yield "quantization in training", plan.quantization.component.name
    for name, value in known.adapter.items():
        yield f"adapter.{name}", plain(value)
    if not known.elsewhere:
        training = {name: getattr(plan.training, name) for name in TRAINING}
        training.pop("num_train_epochs" if plan.training.max_steps else "max_steps")
        for name, value in training.items():
            yield f"trainer.{name}", plain(getattr(value, "value", value))
        yield "seed", str(plan.seed)


def _cost(trained: TrainResult, hardware: Mapping[str, str]) -> str:
    device = hardware.get("device", "")
    on = f" on {plain(device)}" if device else ""
    of = share(trained.trainable_parameters, trained.total_parameters)
    return (
        f"{count(trained.steps, 'step')} and {trained.tokens:,} tokens, {trained.epochs:.3g} times through the data, "
        f"in {trained.seconds:,.0f} s{on}; {trained.trainable_parameters:,} trained parameters ({of} of all). "
        f"The mean loss was {trained.train_loss:.4f}, the last one {trained.last_loss:.4f}."
    )


def _license(known: Known) -> str:
    if not known.license:
        return "Not stated. A derived model is bound by the license of its base."
    whose = ", that of the base" if known.of_base else ""
    return f"`{known.license}`{whose}. The data may be bound by terms of their own."


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in NAMED if name in versions) + "."
