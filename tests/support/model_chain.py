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

from safetensors.numpy import load_file

from framework import FrameworkError
from framework.api import Step
from framework.api.training import TrainRun
from framework.run import pipeline
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.settings.config import Packing
from tests.plugins.hf.loss.test_loss import assert_same, packed, reference
from tests.plugins.hf.packing import drawn
from tests.support.copies import in_place_of_processes
from tests.support.tiny import chat_rows
from tests.support.training import make, opened
from tests.support.twins import TWINS, Twin

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
COLUMNS = ("model", "class", "rows share prefixes", "adapted", "merged", "GGUF")
START, END = "<!-- twins: made by tests/support/model_chain.py -->", "<!-- end of twins -->"
SETTINGS = ("trainer.max_steps=3", "trainer.save_steps=1", "audit=[]")
FILES = ("exporter=[merged,gguf]", "exporter.gguf.quantizations=[f32]")


class Ended(Exception):  # noqa: N818 - not an error of the program
    """What interrupts a training here."""


def chain(name: str, folder: Path) -> str:
    """Train a twin, interrupt and resume it, merge and convert it; return its line.

    Raises:
        AssertionError: something is not exact, or is refused after the training.
    """
    twin = TWINS[name]
    base, rows = twin.write(folder / "model"), folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(12)), encoding="utf-8")
    packing, adapted = _resumed(twin, base, rows, folder)
    settings = json.loads((base / "config.json").read_text(encoding="utf-8"))
    gguf = _exported(twin, base, rows, folder / "run", *FILES)
    if gguf:
        assert not _exported(twin, base, rows, folder / "run", "exporter=[merged]")
    same = load_file(folder / "run" / "checkpoint" / "adapter_model.safetensors")
    again = load_file(folder / "resumed" / "checkpoint" / "adapter_model.safetensors")
    assert all((weight == again[name]).all() for name, weight in same.items())
    cells = (name, f"`{settings['architectures'][0]}`", packing, adapted, "exact", gguf or "exact")
    return f"| {' | '.join(cells)} |"


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
        some = drawn.make(5, 4, 60)
        losses = probe(Losses(model.model.eval(), Packing(facts["packing"].partition(",")[0]), dense_mask=True))
        wanted = reference(model.model, some)
        for packing in {losses.packing, Packing.pad}:
            assert_same(packed(model.model, losses, Packer(packing, 4, 0, dense_mask=True), some), wanted)
        assert not losses.problem
    return facts["packing"].replace("tree", "yes") if losses.packing is Packing.tree else facts["packing"], _adapted(
        facts
    )


def _adapted(facts: Mapping[str, str]) -> str:
    return facts.get("adapted") or "all linear layers"


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
    return re.sub(r".*(error loading model|model\.gguf|/model|\.gguf): ", "", first).partition(". ")[0].strip()


def table(lines: Mapping[str, str]) -> str:
    """Return the lines with their head."""
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
    return "\n".join([head, *lines.values()])


def lines_of_page() -> dict[str, str]:
    """Return the lines of the page by the name of the twin."""
    text = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    return {line.split(" | ")[0].removeprefix("| "): line for line in text.strip().splitlines()[2:]}


def main(names: Sequence[str]) -> None:
    """Write the lines of these twins, or of all, into the page."""
    with in_place_of_processes():
        for name in names or TWINS:
            with tempfile.TemporaryDirectory() as folder:
                line = chain(name, Path(folder))
            made = {**lines_of_page(), name: line}
            before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
            lines = table({each: made[each] for each in TWINS if each in made})
            PAGE.write_text(f"{before}{START}\n\n{lines}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
