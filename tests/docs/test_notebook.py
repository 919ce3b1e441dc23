"""The notebook of the tutorial: its commands plan, it was executed in order, and it runs again. That for GPUs runs."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from framework.cli.python import words_of
from framework.plan.make import make_plan
from framework.testing import compose

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs/tutorial/notebook.ipynb"
CELLS = json.loads(FILE.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
PROGRAM = "!{sys.executable} -m framework "
ON_A_GPU = ROOT / "contrib/notebooks/gpu.ipynb"
FEW = """SETTINGS = {
    "run_dir": "run", "data": {"max_rows": 16}, "trainer": {"max_steps": 2}, "evaluator": {"prompts": {"count": 8}},
    "exporter": ["adapter"],
}"""


def source(cell: dict[str, list[str]]) -> str:
    """Return the text of a cell, each command in one line."""
    return re.sub(r"\s*\\\n\s*", " ", "".join(cell["source"]))


COMMANDS = [
    line.removesuffix(" | cat") for cell in CODE for line in source(cell).splitlines() if line.startswith(PROGRAM)
]


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line.removeprefix(PROGRAM)[:40])
def test_a_command_gives_a_plan(line: str, tmp_path: Path) -> None:
    config = compose(shlex.split(line.removeprefix(PROGRAM)))
    make_plan(config, run_dir=None if config.run_dir else tmp_path)


def test_the_settings_that_it_trains_with_give_a_plan() -> None:
    tree = ast.parse("\n".join(re.sub(r"^!.*", "", source(cell), flags=re.MULTILINE) for cell in CODE))
    (call,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "framework.train"
    ]
    config = compose(words_of(ast.literal_eval(call.args[0])))
    assert make_plan(config).run_dir.name == "run"


def test_it_was_executed_in_order_without_an_error_and_names_no_folder_of_that_machine() -> None:
    assert [cell["execution_count"] for cell in CODE] == [*range(1, len(CODE) + 1)]
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    printed = "".join("".join(output.get("text", [])) for output in outputs)
    assert not re.search(r"Did you mean|Usage: |Traceback|is refused", printed)  # a command whose options have changed
    assert not re.search(r"/(?:tmp|home|root|work)/", FILE.read_text(encoding="utf-8"))


@pytest.mark.slow  # a real training: some minutes
def test_it_runs(tmp_path: Path) -> None:
    (tmp_path / "contrib").symlink_to(ROOT / "contrib")
    (tmp_path / "docs").mkdir()
    script = "\n".join(
        re.sub(r"^!(.*)$", r'subprocess.run(f"""\1""", shell=True, check=True)', source(cell), flags=re.MULTILINE)
        for cell in CODE
    )
    (tmp_path / "docs/notebook.py").write_text(f"import subprocess\n{script}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "notebook.py"], cwd=tmp_path / "docs", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("damage")  # what peft makes of the adapter


@pytest.mark.slow  # a training, the tests of a GPU on the CPU and a dry run: minutes
def test_the_notebook_for_colab_and_kaggle_runs_as_far_as_a_cpu_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ON_A_GPU, as_version=4)
    nbformat.validate(notebook)
    tagged = {tag: cell for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    notebook.cells.remove(tagged["install"])  # it is installed
    tagged["settings"].source = FEW
    for name, value in {
        "IPYTHONDIR": str(tmp_path),
        "JUPYTER_PLATFORM_DIRS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }.items():
        monkeypatch.setenv(name, value)
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    assert any("exact_match" in text or "cannot tell" in text for text in printed)
    assert " passed" in printed[-2]
    assert json.loads((tmp_path / "bench-gpu.json").read_text(encoding="utf-8"))["dry"] is True
    assert "| CPU, dry run | llama1b-nf4-8-shared |" in printed[-1]
