"""bitsandbytes is imported where weights are quantized or an optimizer is of it, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.forked_program import forked, trainers
from tests.support.program import environment
from tests.support.tiny import tiny_chatml

CODE = """
import sys
from pathlib import Path
from tests.support.training import make, opened, train
base, rows, run = map(Path, sys.argv[1:])
for number, words in enumerate(([], ["quantization=nf4", "optimizer=adamw_8bit"])):
    folder = run / str(number)
    with opened(make(base, rows, folder, *words)) as (model, data):
        train(model, data, folder)
        model.complete([[1, 2]], max_new_tokens=2, batch_size=1)
    print("bitsandbytes.nn" in sys.modules)
"""


def test_bitsandbytes_is_imported_by_what_needs_it(tmp_path: Path) -> None:
    base = tiny_chatml(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "Add 1 and 1.", "output": "2"}) + "\n", encoding="utf-8")
    root = Path(__file__).parents[4]
    command = ["-c", CODE, str(base), str(rows), str(tmp_path / "run")]
    done = forked(trainers(), command, root, environment(tmp_path, PYTHONWARNINGS="ignore"))
    assert done.code == 0, done.err[-2000:]
    assert done.out.splitlines()[-2:] == ["False", "True"]
