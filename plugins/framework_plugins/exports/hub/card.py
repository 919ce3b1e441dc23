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

from framework import Plan
from framework.api import DataResult, Report, TrainResult, count, number, redact, visible
from framework_plugins.exports.hub.usage_snippets import UsageSnippet

LIBRARY_NAMES = {"adapter": "peft", "merged": "transformers"}
"""Library names of the Hub, by kind of artifact."""
BASE_RELATIONS = {"adapter": "adapter", "gguf_adapter": "adapter", "merged": "finetune", "gguf": "quantized"}
"""How an artifact follows from its base, in the Hub's words."""
DESCRIPTIONS = {
    "adapter": "An adapter for {base}, as peft saves it",
    "merged": "{base}, fine-tuned: a complete model for transformers",
    "gguf": "{base}, fine-tuned, as GGUF for llama.cpp and what builds on it",
    "gguf_adapter": "An adapter for {base} as GGUF, for llama.cpp",
    "ollama": "{base}, fine-tuned, with a Modelfile for Ollama",
}
LISTED_PACKAGES = (
    "framework-finetune", "python", "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "tokenizers",
    "unsloth", "gguf",
)  # fmt: skip
"""Packages that are named, where they took part."""
TRAINER_SETTINGS = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "max_seq_length", "warmup_steps", "warmup_ratio", "weight_decay", "max_grad_norm",
)  # fmt: skip
"""Settings of every trainer that a reader wants to know."""
MAX_SAMPLE_CHARS = 600
"""Characters of a prompt or an answer; the middle of a longer one is left out."""
_PATH = re.compile(r"(?:[A-Za-z]:)?[\\/](?:[^\\/]*[\\/])*")


@dataclass(frozen=True)
class CardFolder:
    """The folder of a card.

    Attributes:
        kinds: of the artifacts that lie in the folder.
        uses: how to use them.
        compared: how far each agrees with the trained model, by the name of its file, or of the folder.
    """

    kinds: Sequence[str]
    uses: Sequence[UsageSnippet]
    compared: Mapping[str, str]


@dataclass(frozen=True)
class SampleAnswers:
    """A prompt, the answers of the base, if it has one, and of the trained model, and the reference."""

    prompt: str
    before: str | None
    after: str
    reference: str | None


@dataclass(frozen=True)
class RunFacts:
    """The facts about a run.

    Attributes:
        plan: the run.
        report: its results so far.
        base_id: Hub id of the base; empty if it has none.
        base_name: the name of the base.
        license: identifier of the license; empty if it is unknown.
        license_of_base: whether it is the base's.
        datasets: Hub ids of the data.
        adapter: the settings of the adapter.
        trained_elsewhere: whether the weights were trained by something else than this run.
        answers: some of the prompts with their answers.
    """

    plan: Plan
    report: Report
    base_id: str
    base_name: str
    license: str
    license_of_base: bool
    datasets: Sequence[str]
    adapter: Mapping[str, Any]
    trained_elsewhere: bool
    answers: Sequence[SampleAnswers] = ()


def render_card(folder: CardFolder, facts: RunFacts) -> str:
    """Return README.md."""
    text = _template().render(
        title=escaped(facts.plan.name),
        what=f"{_description(folder, facts)}.",
        verdict=[*map(_escape_line, facts.report.verdict.lines)] if facts.report.verdict else [],
        more=[*map(_escape_line, facts.report.verdict.more)] if facts.report.verdict else [],
        first=[row for row in _result_rows(facts.report) if row["first"]],
        rest=[row for row in _result_rows(facts.report) if not row["first"]],
        asked=_evaluation_data(facts.report),
        sure=_interval_note(facts.report),
        answers=[_answer_blocks(sample) for sample in facts.answers],
        uses=folder.uses,
        compared=folder.compared,
        data=[] if facts.trained_elsewhere or facts.report.data is None else list(_data_rows(facts, facts.report.data)),
        settings=list(_setting_rows(facts)),
        elsewhere="The weights were trained elsewhere; see `adapter_config.json`." if facts.trained_elsewhere else "",
        cost=_cost_text(facts.report.train, facts.report.hardware) if facts.report.train else "",
        license=_license(facts),
        versions=_versions(facts.report.versions),
    )
    body = re.sub(r"\n{3,}", "\n\n", text).strip()
    return str(redact(f"---\n{_front_matter(folder, facts)}\n---\n\n{body}\n"))


def _escape_line(line: str) -> str:
    """Return a line of the verdict, which may quote an answer, with HTML and links escaped."""
    return re.sub(r"[<\[]", r"\\\g<0>", line)


def escaped(value: Any) -> str:
    """Return a value without the folders of a path, escaped for Markdown and HTML."""
    if isinstance(value, list | tuple):
        return ", ".join(map(escaped, value))
    text = str(value)
    text = _PATH.sub("", text) if _PATH.match(text) else text
    return re.sub(r"[\\`*|<>\[\]]", r"\\\g<0>", text).replace("\n", " ")


@cache
def _template() -> Template:
    loader = PackageLoader("framework_plugins.exports.hub", ".")
    return Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - Markdown
    ).get_template("card.md.jinja")


def _front_matter(folder: CardFolder, facts: RunFacts) -> str:
    """Return the front matter without unknown values."""
    names = [f"lora-{name}" for name in ("dora", "rslora") if facts.adapter.get(f"use_{name}")]
    tags = [*(kind.replace("_", "-") for kind in folder.kinds), facts.plan.method.component.name, *names]
    library = next((LIBRARY_NAMES[kind] for kind in folder.kinds if kind in LIBRARY_NAMES), None)
    relation = next((BASE_RELATIONS[kind] for kind in folder.kinds if kind in BASE_RELATIONS), None)
    data = ModelCardData(
        base_model=facts.base_id or None,
        base_model_relation=relation if facts.base_id else None,
        library_name=library,
        license=facts.license or None,
        pipeline_tag="text-generation",
        datasets=list(facts.datasets) or None,
        tags=list(dict.fromkeys(tags)),
    )
    return str(data.to_yaml()).strip()


def _description(folder: CardFolder, facts: RunFacts) -> str:
    base = f"[{facts.base_id}](https://huggingface.co/{facts.base_id})" if facts.base_id else facts.base_name
    sentences = [DESCRIPTIONS[kind].format(base=base) for kind in folder.kinds if kind in DESCRIPTIONS]
    return ". ".join(sentences) or f"{base}, fine-tuned"


def _result_rows(report: Report) -> Iterator[Mapping[str, str]]:
    for name, change in report.metrics.items():
        before, after = (
            "-" if value is None else number(value, name, change.unit) for value in (change.before, change.after)
        )
        words = change.outcome_text
        row = {"name": escaped(name), "before": before, "after": after, "words": words}
        row |= {"count": f"{change.pairs:,}" if change.pairs else "-", "first": "first" if change.primary else ""}
        yield row | {"difference": change.difference(name)}


def _answer_blocks(answers: SampleAnswers) -> list[tuple[str, str]]:
    """Return the texts as named blocks of Markdown, which nothing inside of them can end."""
    texts = {"Prompt": answers.prompt, "Base": answers.before, "Fine-tuned": answers.after}
    texts["Reference"] = answers.reference
    return [(name, _fence(text)) for name, text in texts.items() if text is not None]


def _fence(text: str) -> str:
    text = visible(str(redact(text)), "\n").strip()
    text = (
        text
        if len(text) <= MAX_SAMPLE_CHARS
        else f"{text[: MAX_SAMPLE_CHARS // 2].rstrip()} … {text[-MAX_SAMPLE_CHARS // 2 :].lstrip()}"
    )
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _evaluation_data(report: Report) -> str:
    """Return the number of prompts that were asked, by the first measure."""
    change = next((change for change in report.metrics.values() if change.primary and change.pairs), None)
    if change is not None:
        return f"the same {count(change.pairs + change.leaked, 'prompt')}"
    return f"the same {count(report.data.validation_rows, 'held-out row')}" if report.data else "the same data"


def _interval_note(report: Report) -> str:
    has_interval = any(change.low is not None for change in report.metrics.values())
    return (
        f"; differences with their {report.verdict.confidence:.0%} interval" if has_interval and report.verdict else ""
    )


def _data_rows(facts: RunFacts, data: DataResult) -> Iterator[tuple[str, str]]:
    path = facts.plan.data.config.source()
    source = facts.plan.data.component.name
    yield "source", f"{source}: {escaped(path)}" if path else source
    trained = f"{data.block_rows:,} texts in {data.train_rows:,} blocks" if data.block_rows else f"{data.train_rows:,}"
    yield "rows", f"{trained} to train, {data.validation_rows:,} held out"
    yield "format", ", ".join(map(escaped, data.formats))
    if data.mixed:
        yield "mixed in", ", ".join(f"{part.rows:,} of {escaped(part.name)}" for part in data.mixed)
    learned = f"{data.supervised_tokens / max(data.tokens, 1):.0%}"
    which = "" if data.block_rows else ": the answers"
    yield "tokens", f"{data.tokens:,}, of which {data.supervised_tokens:,} ({learned}) are learned{which}"
    yield "fingerprint", f"`{data.fingerprint}`"


def _setting_rows(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """Give the settings of the training; for weights trained elsewhere only the adapter's."""
    plan = facts.plan
    if not facts.trained_elsewhere:
        description = re.split("[:;.]", plan.method.component.schema.__doc__ or plan.method.component.name)[0]
        yield "method", f"{description}, `method={plan.method.component.name}` `adapter={plan.adapter.component.name}`"
        yield "quantization in training", plan.quantization.component.name
    for ancestor in facts.report.train.lineage if facts.report.train else ():
        # Its base is that of the card; the run is a folder of this machine.
        merged = " (kept as it is, beside a new adapter)" if ancestor.merged else ""
        yield "starts from", f"{escaped(ancestor.place)}{merged}, SHA-256 `{ancestor.sha256}`"
    for name, value in facts.adapter.items():
        yield f"adapter.{name}", escaped(value)
    if not facts.trained_elsewhere:
        training = {name: getattr(plan.training, name) for name in TRAINER_SETTINGS}
        training.pop("num_train_epochs" if plan.training.max_steps else "max_steps")
        for name, value in training.items():
            yield f"trainer.{name}", escaped(value)
        for group, choice in (("method", plan.method), ("optimizer", plan.optimizer), ("schedule", plan.schedule)):
            if choice is not plan.method:
                yield group, choice.component.name
            for name, value in choice.settings.items():
                if value not in (None, []):
                    yield f"{group}.{name}", escaped(value)
        yield "seed", str(plan.seed)


def _cost_text(trained: TrainResult, hardware: Mapping[str, str]) -> str:
    device = hardware.get("device", "")
    on = f" on {escaped(device)}" if device else ""
    of = f"{trained.trainable_parameters / max(trained.total_parameters, 1):.0%}"
    return (
        f"{count(trained.steps, 'step')} and {trained.tokens:,} tokens, {trained.epochs:.3g} times through the data, "
        f"in {trained.seconds:,.0f} s{on}; {trained.trainable_parameters:,} trained parameters ({of} of all). "
        f"The mean loss was {trained.train_loss:.4f}, the last one {trained.last_loss:.4f}."
    )


def _license(facts: RunFacts) -> str:
    if not facts.license:
        return "Not stated. A derived model is bound by the license of its base."
    whose = ", that of the base" if facts.license_of_base else ""
    return f"`{facts.license}`{whose}. The data may be bound by terms of their own."


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in LISTED_PACKAGES if name in versions) + "."
