"""Options of third parties and a start from an adapter with Unsloth itself, on a CPU: the same training as with hf."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.test_docs import ROOT, write_files
from tests.plugins.unsloth.runs import BARE, Done, copied
from tests.support import pairs_plugin
from tests.support.pairs import pair_rows
from tests.support.tiny import tiny_chatml

pytestmark = pytest.mark.unsloth
PAGES = (ROOT / "docs/how-to/methods-and-losses.md", ROOT / "docs/how-to/change-a-training.md")
CLOSE = 1e-3
"""How far losses may lie apart, as a share, in fp32."""
CHOSEN = {
    "all of a training": (
        "plugins=[orthogonal.py,trapezoid.py,curriculum.py,plateau.py,focal.py]", "optimizer=orthogonal",
        "schedule=trapezoid", "schedule.decay=0.5", "sampler=short_first", "loss=focal", "callback=[plateau]",
        "callback.plateau.patience=1", "trainer.logging_steps=1",
    ),
    "pairs": ("plugins=[pairs_plugin.py]", "method=pairs", "format=preference", "data.path=pairs.jsonl"),
    "lion": ("optimizer=lion_32bit", "trainer.learning_rate=0.001"),
    "8 bits": ("optimizer=adamw_8bit",),
    "groups": ("optimizer.groups=[{match: lora_B, learning_rate: 0.05}]", "optimizer=sgd"),
    "start": ("adapter.start=first", "adapter.lora_dropout=0"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of the pages, and an adapter to start from."""
    folder = tmp_path_factory.mktemp("options")
    work = folder / "work"
    work.mkdir()
    for page in PAGES:
        write_files(page, None, work)
    (work / "pairs_plugin.py").write_text(Path(pairs_plugin.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    (work / "pairs.jsonl").write_text(pair_rows(16), encoding="utf-8")
    rows = [{"instruction": f"say {number}", "output": f"it is {number}"} for number in range(16)]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tiny_chatml(folder / "base")
    assert trained(folder, "hf", name="first").code == 0
    return folder


def trained(place: Path, trainer: str, *words: str, name: str) -> Done:
    plain = (
        "model=local", f"model.path={place / 'base'}", "data=local_file", "trainer.dtype=fp32", "trainer.max_steps=4",
        "trainer.warmup_steps=1", "adapter.r=4", "audit=[]", "stages=[data,train]", "objective=train_loss", *BARE,
    )  # fmt: skip
    own = {word.partition("=")[0] for word in words}
    rest = ("data.path=rows.jsonl", "trainer.learning_rate=0.01")
    defaults = (word for word in rest if word.partition("=")[0] not in own)
    return copied(place, trainer, *plain, *defaults, *words, name=name)


@pytest.mark.parametrize("words", CHOSEN.values(), ids=CHOSEN)
def test_what_is_chosen_is_used_as_with_hf(words: tuple[str, ...], place: Path, request: pytest.FixtureRequest) -> None:
    ours, theirs = (
        trained(place, trainer, *words, name=f"{trainer}-{request.node.callspec.id}".replace(" ", "-"))
        for trainer in ("hf", "unsloth")
    )
    assert (ours.code, theirs.code) == (0, 0), theirs.err
    assert len(ours.steps) == 4
    for key in ("loss", "grad_norm", "learning_rate", "tokens"):
        assert [step[key] for step in theirs.steps] == pytest.approx([step[key] for step in ours.steps], rel=CLOSE), key
    assert theirs.steps[-1]["loss_metrics"] == pytest.approx(ours.steps[-1]["loss_metrics"], rel=CLOSE, abs=1e-4)
