"""Tasks are found by name without importing lm-eval, and read with what they include."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from framework.api import PythonProcess
from framework_plugins.evals.harness import catalog
from framework_plugins.evals.harness.catalog import Catalog, read_task_file
from tests.support.harness_tasks import write_tasks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks")


def test_tasks_groups_and_tags_have_names(folder: Path) -> None:
    (folder / "one.yaml").write_text('"task": one # the first\ntag:\n  - pair\n  - "odd ones"\n', encoding="utf-8")
    (folder / "two.yaml").write_text("include: base\ntask: 'two'\n", encoding="utf-8")
    (folder / "base").write_text("tag: [pair, even]\ndataset_path: csv\n", encoding="utf-8")
    (folder / "coded.yaml").write_text("group: old\ntask: coded\nclass: !function code.Task\n", encoding="utf-8")
    (folder / "no_task.yaml").write_text("metric: acc\n", encoding="utf-8")
    known = Catalog([folder])
    ours = {name for name in known.local if not name.startswith("general")}
    assert ours == {"both", "follows", "said", "likely", "rolling", "one", "two", "pair", "odd ones", "even", "coded"}
    assert [task.name for task in known.tasks("pair")] == ["one", "two"]
    assert known.tasks("even")[0].settings == {"tag": ["pair", "even"], "dataset_path": "csv", "task": "two"}
    assert known.tasks("coded")[0].settings["class"] == "!function code.Task"


def test_a_group_is_its_tasks_with_what_it_changes_in_them(folder: Path) -> None:
    (folder / "more.yaml").write_text(
        "group: more\n"
        "task:\n"
        "  - both\n"
        "  - {task: likely, num_fewshot: 3}\n"
        "  - {group: within, task: [rolling]}\n"
        "  - {task: new, dataset_path: text}\n",
        encoding="utf-8",
    )
    tasks = Catalog([folder]).tasks("more")
    assert [task.name for task in tasks] == ["follows", "said", "likely", "rolling", "more::new"]
    assert [task.settings.get("num_fewshot") for task in tasks] == [None, None, 3, None, None]
    assert tasks[0].file == folder / "follows.yaml"


def test_the_users_task_comes_before_one_of_the_same_name(folder: Path) -> None:
    (folder / "mine.yaml").write_text("task: general_code\ndataset_path: csv\n", encoding="utf-8")
    assert Catalog([folder]).tasks("general_code")[0].file == folder / "mine.yaml"
    assert Catalog().tasks("general_code")[0].file.name == "general_code.yaml"


def test_a_file_can_be_named_itself(folder: Path) -> None:
    (task,) = Catalog().tasks(str(folder / "likely.yaml"))
    assert (task.name, task.file) == ("likely", folder / "likely.yaml")


@pytest.mark.parametrize(
    ("names", "expanded"),
    [
        (["general_h*"], ["general_health", "general_history"]),
        (["general_code", "general_c*", "nothing"], ["general_code", "nothing"]),
        (["nothing_*"], ["nothing_*"]),
        (["arc_eas?"], ["arc_easy"]),
    ],
)
def test_patterns_stand_for_names(names: list[str], expanded: list[str]) -> None:
    assert Catalog().expand(names) == expanded


def test_what_lm_eval_brings_is_found() -> None:
    known = Catalog()
    assert [task.settings["dataset_path"] for task in known.tasks("hellaswag")] == ["Rowan/hellaswag"]
    assert len(known.tasks("mmlu")) == 57
    assert {"squadv2", "scrolls_qasper", "AraDiCE_ArabicMMLU_egy", "mmlu_continuation"} <= set(known.installed)
    with pytest.raises(KeyError):
        known.tasks("no_such_task")


def test_the_index_of_lm_eval_is_made_once_for_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path))
    asked: list[str] = []

    def call(_: PythonProcess, name: str) -> dict[str, list[str]]:
        asked.append(name)
        return {"one": ["a/one.yaml"]}

    monkeypatch.setattr(PythonProcess, "call", call)
    home = catalog.lm_eval_tasks()
    assert home is not None
    for wanted in ("0.4.13", "0.4.13", "0.4.14"):
        monkeypatch.setattr(catalog, "version", lambda _, wanted=wanted: wanted)
        catalog._installed_index.cache_clear()  # noqa: SLF001 - as a new process has it
        assert catalog._installed_index(home) == {"one": (home / "a/one.yaml",)}  # noqa: SLF001
    catalog._installed_index.cache_clear()  # noqa: SLF001
    assert asked == ["framework_plugins.evals.harness.index:index"] * 2


def test_a_task_of_the_user_that_is_no_yaml_is_reported_as_such(folder: Path) -> None:
    (folder / "odd.yaml").write_text("task: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd.yaml is not YAML"):
        Catalog([folder]).tasks("odd")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task: [", "is not YAML"),
        ("- task", "is not a mapping of names to values"),
        ("include: broken.yaml\ntask: a\n", "includes itself"),
    ],
)
def test_a_file_that_says_nothing_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"broken.yaml {problem}"):
        read_task_file(file.resolve())


def test_neither_lm_eval_nor_torch_is_imported() -> None:
    code = (
        "import sys; import framework_plugins.evals.forgetting\n"
        "from framework_plugins.evals.harness import catalog, data, names\n"
        "catalog.Catalog().tasks('hellaswag')\n"
        "print([name for name in ('lm_eval', 'torch', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
