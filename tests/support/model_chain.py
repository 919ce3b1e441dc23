"""What a family's twin does from training to GGUF, as a line of docs/reference/models.md.

`python -m tests.support.model_chain [NAME …]` runs these twins, or all, and writes their lines into the page.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from safetensors.numpy import load_file

from framework import FrameworkError
from framework.api import Step
from framework.api.training import TrainRun
from framework.run import pipeline
from framework_plugins.exports.gguf.metadata import TensorTypes
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.settings.config import Packing
from tests.plugins.hf.loss.test_loss import assert_same, packed, reference
from tests.plugins.hf.packing import drawn
from tests.support.copies import in_place_of_processes
from tests.support.families import PUBLISHED, make_tokenizer, stop_ids
from tests.support.model_page import read, write
from tests.support.template_survey import ROWS, Outcome, outcomes, turns
from tests.support.tiny import chat_rows
from tests.support.training import make, opened
from tests.support.twins import TWINS, Twin

COLUMNS = ("class", "template", "rows share prefixes", "adapted", "GGUF")
SETTINGS = ("trainer.max_steps=3", "trainer.save_steps=1", "audit=[]")
WIDE = {"hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 256, "head_dim": 64}
"""Rows of a multiple of 256 weights."""
FILES = ("exporter=[merged,gguf]", "exporter.gguf.quantizations=[f32]")


class Ended(Exception):  # noqa: N818 - not an error of the program
    """What interrupts a training here."""


def chain(name: str, folder: Path) -> list[str]:
    """Train a twin, interrupt and resume it, merge and convert it; return the cells of its line.

    Raises:
        AssertionError: something is not exact, or is refused after the training.
    """
    twin = TWINS[name]
    base, rows = twin.write(folder / "model"), folder / "rows.jsonl"
    template, conversations = _template(twin)
    rows.write_text("".join(json.dumps(row) + "\n" for row in conversations), encoding="utf-8")
    packing, adapted = _resumed(twin, base, rows, folder)
    settings = json.loads((base / "config.json").read_text(encoding="utf-8"))
    gguf = _exported(twin, base, rows, folder / "run", *FILES)
    if gguf:
        assert not _exported(twin, base, rows, folder / "run", "exporter=[merged]")
    same = load_file(folder / "run" / "checkpoint" / "adapter_model.safetensors")
    again = load_file(folder / "resumed" / "checkpoint" / "adapter_model.safetensors")
    off = {each: float(abs(weight - again[each]).max()) for each, weight in same.items()}
    assert {each: away for each, away in off.items() if away} == {}
    return [f"`{settings['architectures'][0]}`", template, packing, adapted, gguf or "exact"]


def _template(twin: Twin) -> tuple[str, list[dict[str, Any]]]:
    """Return which template a twin has, and rows: short ones, and one of each kind that the template allows."""
    tokenizer, words = make_tokenizer(twin.tokenizer), [word for word in twin.words if word.startswith("model.")]
    found: Mapping[str, Outcome] = {} if twin.short else outcomes(tokenizer, stop_ids(twin.tokenizer))
    kinds = [kind for kind, outcome in found.items() if not outcome.kind and outcome.settings == " ".join(words)]
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": f"{row['instruction']} {row['input']}"},
                      {"role": "assistant", "content": row["output"]}]}
        for row in chat_rows(12)
    ]  # fmt: skip
    rows += [{"messages": turns(ROWS[kind].messages), "tools": list(ROWS[kind].tools)} for kind in kinds]
    known = PUBLISHED.get(twin.tokenizer)
    name = f"TRL's `{known.trl}`" if known and known.trl else f"like `{twin.tokenizer}`"
    which = f"{len(kinds)} kinds" if kinds else "short rows"
    return ", ".join([name, which, *(f"`{word}`" for word in words)]), rows


def _resumed(twin: Twin, base: Path, rows: Path, folder: Path) -> tuple[str, str]:
    """End a training after its second step, and resume it; return how rows are packed, and what is adapted."""

    def end(step: Step) -> None:
        if step.step == 2:
            raise Ended

    plan = make(base, rows, folder / "resumed", *SETTINGS, *twin.words)
    run = folder / "resumed" / "checkpoint", folder / "resumed" / "scratch"
    with opened(plan) as (model, data):
        facts = dict(model.facts)
        proof = data.result.proof
        assert proof.rows
        assert not proof.failed
        with suppress(Ended):
            model.train(data.train_groups, data.validation_groups, TrainRun(*run, end))
    with opened(plan) as (model, data):
        result = model.train(data.train_groups, data.validation_groups, TrainRun(*run, lambda _: None))
        assert (result.steps, result.resumed) == (3, 1)
        _same_in_published_class(model.model, base, run[0])
        some = drawn.make(5, 4, 60)
        losses = probe(Losses(model.model.eval(), Packing(facts["packing"].partition(",")[0]), dense_mask=True))
        wanted = reference(model.model, some)
        for packing in {losses.packing, Packing.pad}:
            assert_same(packed(model.model, losses, Packer(packing, 4, 0, dense_mask=True), some), wanted)
        assert not losses.problem
    return facts["packing"].replace("tree", "yes") if losses.packing is Packing.tree else facts["packing"], _adapted(
        facts
    )


def _same_in_published_class(trained: Any, base: Path, checkpoint: Path) -> None:
    """Load the adapter by plain peft into the class that config.json names, and compare what both say."""
    settings = json.loads((base / "config.json").read_text(encoding="utf-8"))
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        wanted = trained.eval()(input_ids=ids, use_cache=False).logits
        plain = getattr(transformers, settings["architectures"][0]).from_pretrained(base, dtype=torch.float32).eval()
        # The text part of Llama 4 has a head, and transformers cannot call the class around it.
        speaker = plain if plain.get_decoder().get_output_embeddings() is None else plain.get_decoder()
        before = speaker(input_ids=ids, use_cache=False).logits
        adapted = PeftModel.from_pretrained(plain, checkpoint, torch_device="cpu").eval()
        found = (adapted if speaker is plain else speaker)(input_ids=ids, use_cache=False).logits
    assert (before - wanted).abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


def k_quants(name: str, folder: Path) -> Mapping[str, int]:
    """Train a twin that is wide enough for K-quants, and write it as Q4_K_M, compared; return the types of tensors."""
    twin, run = TWINS[name], folder / "run"
    base, rows = twin.write(folder / "model", WIDE, scale=1.0), folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in _template(twin)[1]), encoding="utf-8")
    learned = ("trainer.max_steps=30", "trainer.learning_rate=5e-3", "trainer.warmup_steps=0", "audit=[]")
    files = ("stages=[data,train,export]", "exporter=[gguf]", "exporter.gguf.quantizations=[q4_k_m]")
    pipeline.run(make(base, rows, run, *learned, *twin.words, *files))
    (file,) = (run / "gguf").glob("*.gguf")
    return TensorTypes.read(file).types


def _adapted(facts: Mapping[str, str]) -> str:
    """Return what is adapted in few words; no family adapts parts that read no text."""
    return shortened(facts.get("adapted") or "all")


def shortened(fact: str) -> str:
    """Leave out what the page says of all families."""
    fact = re.sub(r"\b(\d+) of \1 linear layers", "all", fact)
    fact = re.sub(r"(\d) linear layers", r"\1", fact).replace("; experts: no, router: no", "; no experts")
    fact = re.sub(r"peft does not adapt (.*) of this family", r"not \1", fact)
    return re.sub(r"; left out: .*?, which read no text", "", fact)


def _exported(twin: Twin, base: Path, rows: Path, run: Path, *exporters: str) -> str:
    """Train and export, with the parity check; return why it is refused before the training, or nothing."""
    words = (*SETTINGS, *twin.words, "stages=[data,train,export]", *exporters)
    try:
        pipeline.run(make(base, rows, run, *words))
    except FrameworkError as error:
        if (run / "train.json").exists():
            raise AssertionError(f"refused after the training: {error}") from error
        return f"refused before the training: {_reason(str(error))}"
    return ""


def _reason(error: str) -> str:
    """Return what is the same on each machine."""
    first = re.sub(r"\s*\(/.*?:\d+\)", "", error.partition("\n")[0])
    first = re.sub(r".*(error loading model|model\.gguf|/model|\.gguf): ", "", first)
    return first.partition(". ")[0].partition(", only ")[0].strip()


def main(names: Sequence[str]) -> None:
    """Write the lines of these twins, or of all, into the page."""
    with in_place_of_processes():
        for name in names or TWINS:
            with tempfile.TemporaryDirectory() as folder:
                cells = chain(name, Path(folder))
            made = {**read("twins"), name: cells}
            write("twins", {"model": COLUMNS, **{each: made[each] for each in TWINS if each in made}})


if __name__ == "__main__":
    main(sys.argv[1:])
