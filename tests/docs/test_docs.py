"""The documentation is correct: commands compose, examples run, links lead somewhere, nothing is left out.

A line in a bash or sh block that begins with `python -m framework` is composed, checked and planned. Comments in the
Markdown ask for more:

- `<!-- run -->` or `<!-- run, exit 2 -->` before such a block: its one command is executed, and what it prints is the
  text block that follows. In expected text, `…` stands for anything.
- `<!-- file: my.jsonl -->` before a block: the commands of this page that are executed find the block as that file;
  with `<!-- file: my.jsonl, here -->` only those below the same heading do.

A python block is saved as `acme.py` and executed; a text block right after it is what it prints. `<!-- slow -->`
before it leaves it to the slow tests: it trains a real model. With `<!-- network -->` before it, it downloads a model,
and only its imports are executed.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from framework import testing
from framework.api import records, run_folder
from framework.api.text.overrides import override_key
from framework.cli.arguments import complete, is_command
from framework.hooks import hookspecs
from framework.hooks.session import current
from framework.plan.make import make_plan
from framework.rundir import environment
from framework.util import errors
from tests.support.copies import in_place_of_processes
from tests.support.forked_program import trainers
from tests.support.forks import Call
from tests.support.project import project
from tests.support.sources import tree

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ARCHITECTURE = ROOT / "docs/explanation/architecture.md"
DECISIONS = ROOT / "docs/explanation/decisions/README.md"
COMMAND = "python -m framework"
SHOWN = {"COLUMNS": "100", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
PRINTED = ("--help", "--cfg", "--info", "--version")
RECORDS = [
    records.Report, records.Objective, records.Change, records.TrainResult, records.TrainingIssue, records.Artifact,
    records.Ancestor, records.RewardRise,
    records.DataResult, records.FormatRun, records.MixedIn, records.Proof, records.ProofProblem, records.Lengths,
    records.Finding,
    records.ViewedRow, records.Piece, records.EvalResult, records.ExpertUse, records.Measure, records.Sample,
    records.ExportResult, records.Verdict, records.Concern,
    records.Forecast, records.Memory, records.SuggestedChange, records.Traffic, records.Work, records.Disk,
    records.ExportNeed,
    environment.Environment, environment.Commit, run_folder.Status,
    records.Sweep, records.Trial, records.Ranking, records.Point, records.Lead,
]  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block: the comment before it, and the text block after it where one follows."""

    page: Path
    line: int
    language: str
    text: str
    comment: str = ""
    printed: str | None = None
    heading: str = ""

    def __str__(self) -> str:
        """Name it in the list of tests."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The lines that run the program, each whole."""
        whole = self.text.replace("\\\n", " ")
        return [line for line in whole.splitlines() if line.startswith(COMMAND)]

    @property
    def exit_code(self) -> int | None:
        """What the command returns where it is to be executed."""
        marked = re.fullmatch(r"run(?:, exit (\d+))?", self.comment)
        return int(marked.group(1) or 0) if marked else None


def blocks_of(page: Path) -> list[Block]:
    found: list[Block] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    comment, prose, heading = "", False, ""
    for number, line in lines:
        if line.startswith("#"):
            heading = line
        if line.startswith("```"):
            body = "\n".join(text for _, text in itertools.takewhile(lambda pair: pair[1] != "```", lines))
            block = Block(page, number, line.removeprefix("```").strip(), body, comment, heading=heading)
            if block.language == "text" and found and not prose and not comment and found[-1].printed is None:
                found[-1] = dataclasses.replace(found[-1], printed=body)
            found.append(block)
            comment, prose = "", False
        elif marked := re.fullmatch(r"<!-- (.*) -->", line):
            comment = marked.group(1)
        elif line.strip():
            comment, prose = "", True
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SHELL = [block for block in BLOCKS if block.language in {"bash", "sh"} and block.commands]
PLANNED = [(str(block), line) for block in SHELL if block.exit_code is None for line in block.commands]
EXECUTED = [block for block in SHELL if block.exit_code is not None]
PYTHON = [block for block in BLOCKS if block.language == "python"]


def in_fork(words: list[str], folder: Path) -> tuple[int, str]:
    """Execute Python by a fork, without a network; return its exit code and what it printed, errors included."""
    environment = {"OMP_NUM_THREADS": "1"} | os.environ | SHOWN
    printed = folder.with_name(f"{folder.name}-printed")
    code = trainers().run(Call(words, str(folder), environment, os.devnull, str(printed), str(printed)), timeout=600)
    return code, printed.read_text(encoding="utf-8")


def agrees(expected: str, printed: str) -> bool:
    """Whether the text is what the documentation says; white space at the end of lines does not count."""
    pattern = ".*".join(re.escape(part) for part in stripped(expected).split("…"))
    return re.fullmatch(pattern, stripped(printed), re.DOTALL) is not None


def stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def points(words: list[str]) -> Iterator[list[str]]:
    """Return the overrides of each trial of a sweep; a plain run is one trial."""
    parsed = OverridesParser.create().parse_overrides(words)
    yield from (
        list(point)
        for point in itertools.product(
            *(
                [f"{part.get_key_element()}={value}" for value in _values(part)]
                if part.is_sweep_override()
                else [str(part.input_line)]
                for part in parsed
            )
        )
    )


def _values(part: Override) -> Iterator[str]:
    """Return what a word sweeps over; of an interval, which has no end of values, its start."""
    value = part.value()
    yield from [str(value.start)] if isinstance(value, IntervalSweep) else part.sweep_string_iterator()


def write_files(page: Path, heading: str | None, folder: Path) -> None:
    """Write the files of a page that a command below this heading finds; without a heading all of them."""
    for block in blocks_of(page):
        name, here = block.comment.removesuffix(", here"), block.comment.endswith(", here")
        if name.startswith("file: ") and (not here or heading in {None, block.heading}):
            file = folder / name.removeprefix("file: ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text + "\n", encoding="utf-8")


def files_of(page: Path) -> list[str]:
    """Return the names of the files of a page."""
    names = [block.comment.removeprefix("file: ").removesuffix(", here") for block in blocks_of(page)]
    return [name for name, block in zip(names, blocks_of(page), strict=True) if block.comment.startswith("file: ")]


def test_each_command_has_a_section_in_the_page_of_commands() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^## `([\w-]+)", page, re.MULTILINE))
    assert {name for name in current().plugins.commands() if name not in named} == set()


@pytest.mark.parametrize(("place", "line"), PLANNED, ids=[f"{place} {line[20:60]}" for place, line in PLANNED])
def test_a_command_in_the_docs_is_one_or_gives_a_plan(
    place: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / place.rpartition(":")[0]
    if any(name in line for name in files_of(page)):  # some are read to see whether the plan holds
        write_files(page, None, tmp_path)
        monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)[3:]
    if any(override_key(word) == "plugins" for word in words):  # which this session is not to know
        write_files(page, None, tmp_path)
        words = words[is_command(words[0]) :]
        done = project(tmp_path, env=SHOWN).run(*words, "stages=[plan]", "run_dir=run")
        assert done.code == 0, done.err
        return
    if words and is_command(words[0]):
        assert words[0] in current().plugins.commands()
        return
    words = [word for word in complete(words) if word not in {"-m", "--multirun"}]
    if any(word in PRINTED for word in words):
        words = [word for word in words if "=" in word]
    for overrides in points(words):
        config = testing.compose(overrides)
        if config.checkpoint and not Path(config.checkpoint).is_absolute():  # the plan looks whether it is there
            monkeypatch.chdir(tmp_path)
            (tmp_path / config.checkpoint).mkdir(parents=True, exist_ok=True)
        if start := config.adapter.get("start"):
            monkeypatch.chdir(tmp_path)
            (tmp_path / start).mkdir(parents=True, exist_ok=True)
            settings = {"peft_type": "LORA", "r": config.adapter.r, "lora_alpha": config.adapter.lora_alpha}
            (tmp_path / start / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
        if "reward_model" in config.reward:
            monkeypatch.chdir(tmp_path)
            (tmp_path / config.reward.reward_model.path).mkdir(parents=True, exist_ok=True)
            settings_file = tmp_path / config.reward.reward_model.path / "adapter_config.json"
            settings_file.write_text(json.dumps({"task_type": "SEQ_CLS"}), encoding="utf-8")
        with in_place_of_processes():  # to list the tasks of lm-eval once
            make_plan(config, run_dir=None if config.run_dir else tmp_path)


@pytest.mark.parametrize("block", EXECUTED, ids=str)
def test_an_executed_command_prints_what_the_docs_show(block: Block, tmp_path: Path) -> None:
    write_files(block.page, block.heading, tmp_path)
    before = sorted(tmp_path.iterdir())
    (line,) = block.commands
    words = shlex.split(line, comments=True)[3:]
    if block.exit_code == errors.USER_MISTAKE:
        done = project(tmp_path, env=SHOWN).run(*words)
        code, printed = done.code, done.out + done.err
    else:
        code, printed = in_fork(["-m", "framework", *words], tmp_path)
    assert code == block.exit_code, printed
    assert block.printed is not None, "no text block follows"
    assert agrees(block.printed, printed), printed
    if code == errors.USER_MISTAKE:
        left = sorted(path for path in tmp_path.iterdir() if path.name != "__pycache__")  # Python's, of a plugin's file
        assert left == before, "a refused run left something behind"


@pytest.mark.parametrize(
    "block", [pytest.param(one, marks=[pytest.mark.slow] * (one.comment == "slow"), id=str(one)) for one in PYTHON]
)
def test_a_python_example_runs(block: Block, tmp_path: Path) -> None:
    write_files(block.page, block.heading, tmp_path)
    text = block.text
    if block.comment == "network":
        lines = ast.parse(text).body
        text = "\n".join(ast.unparse(line) for line in lines if isinstance(line, ast.Import | ast.ImportFrom))
    (tmp_path / "acme.py").write_text(text + "\n", encoding="utf-8")
    code, printed = in_fork(["-m", "acme"], tmp_path)
    assert code == 0, printed
    if block.printed is not None:
        assert agrees(block.printed, printed), printed


def without_examples(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_examples(page), re.MULTILINE)
    texts = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in texts}


def test_every_link_leads_to_a_file_and_to_a_heading() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", without_examples(page)):
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            if "://" not in target and (
                not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors_of(file))
            ):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def links_of(page: Path) -> set[Path]:
    """Return the files that a page links to."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return {(page.parent / target.partition("#")[0]).resolve() for target in targets}


def test_every_page_is_linked_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = links_of(index)
    assert [page for page in PAGES if page.is_relative_to(index.parent) and page not in linked | {index}] == []


def test_the_readme_leads_in_two_clicks_to_a_page_with_commands_for_each_task_of_a_first_week() -> None:
    index = ROOT / "docs" / "README.md"
    assert index in links_of(ROOT / "README.md")
    rows = re.findall(r"^\| (.*) \| (.*\]\(.*) \|$", section_of(index, "Tasks of a first week"), re.MULTILINE)
    assert len(rows) > 30
    named = {task: re.findall(r"\]\((.*?\.md)", cell) for task, cell in rows}
    bare = [
        task for task, pages in named.items() if not any(COMMAND in (index.parent / page).read_text() for page in pages)
    ]
    assert bare == []


def test_the_pages_have_at_most_80_000_words() -> None:
    """`cat docs/**/*.md | wc -w`: a page that grows makes another one shorter."""
    words = {page: len(page.read_text(encoding="utf-8").split()) for page in PAGES}
    assert sum(count for page, count in words.items() if page.is_relative_to(ROOT / "docs")) <= 80_000
    assert words[ROOT / "README.md"] <= 900


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert sorted(listed) == sorted(pages)


def section_of(page: Path, heading: str) -> str:
    """Return what is below a heading of the second level."""
    return page.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def first_column(table: str) -> list[str]:
    """Return the first cells of a table that hold code."""
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "folder"), [("The rooms", "framework"), ("The rooms of hf", "plugins/framework_plugins/hf")]
)
def test_every_room_has_one_row_in_the_architecture_in_the_order_of_the_imports(heading: str, folder: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    container = [folder.removeprefix("plugins/").replace("/", ".")]
    (order,) = (part for part in project["tool"]["importlinter"]["contracts"] if part.get("containers") == container)
    inside = sorted(file.parent.name for file in (ROOT / folder).glob("*/__init__.py"))
    rooms = [room for layer in order["layers"] for room in layer.split(" | ") if room in inside]
    assert first_column(section_of(ARCHITECTURE, heading)) == rooms
    assert sorted(rooms) == inside


def test_every_plugin_of_this_repository_has_one_row_in_the_architecture() -> None:
    packages = [file.parent.name for file in (ROOT / "plugins/framework_plugins").glob("*/plugin.py")]
    assert packages
    rows = first_column(section_of(ARCHITECTURE, "The first-party plugins"))
    assert rows == [*sorted(packages), "hydra_plugins"]


def test_every_python_file_named_in_the_architecture_and_in_the_decisions_exists() -> None:
    """Those with a folder; a bare `plugin.py` stands for one in each plugin."""
    roots = [ROOT, ROOT / "framework", ROOT / "plugins/framework_plugins"]
    gone = []
    for page in (ARCHITECTURE, DECISIONS):
        named = re.findall(r"`([\w.]+/[\w/.]+\.py)`", page.read_text(encoding="utf-8"))
        gone += [f"{page.name}: {name}" for name in named if not any((root / name).exists() for root in roots)]
    assert gone == []


def decisions() -> dict[str, str]:
    """Return the paragraph of each decision by its number, in the order of the page."""
    text = DECISIONS.read_text(encoding="utf-8")
    return {part[:4]: part.partition("\n")[2] for part in text.split("\n## ")[1:]}


def test_each_decision_has_a_number_a_title_and_a_short_paragraph() -> None:
    headings = re.findall(r"^## (\d{4}) \S.*$", DECISIONS.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == sorted(decisions())
    assert [number for number, text in decisions().items() if not 10 < len(text.split()) < 110] == []


def test_the_source_names_or_a_page_links_every_decision_and_no_other() -> None:
    files = [ROOT / "pyproject.toml", *(ROOT / "conf").rglob("*.yaml")]
    files += [file for folder in ("framework", "plugins") for file in (ROOT / folder).rglob("*.py")]
    cited = {
        number
        for file in files
        for numbers in re.findall(r"\b[Dd]ecisions? (\d{4}(?:(?:,| and) \d{4})*)", file.read_text(encoding="utf-8"))
        for number in re.findall(r"\d{4}", numbers)
    }
    pages = [page for page in (*PAGES, ROOT / "benchmarks/README.md") if page != DECISIONS]
    linked = {
        number
        for page in pages
        for number in re.findall(r"decisions/README\.md#(\d{4})-", page.read_text(encoding="utf-8"))
    }
    assert cited | linked == set(decisions())


def test_every_field_of_a_saved_record_is_explained() -> None:
    text = (ROOT / "docs/reference/report.md").read_text(encoding="utf-8")
    explained = {}
    for record in RECORDS:
        section = text.partition(f"## `{record.__name__}`\n")[2].partition("\n## ")[0]
        heads = re.findall(r"^- ((?:`\w+`(?:, )?)+)(?:: |$)", section, re.MULTILINE)
        explained[record.__name__] = sorted(re.findall(r"\w+", " ".join(heads)))
    names = {record.__name__: sorted(field.name for field in dataclasses.fields(record)) for record in RECORDS}
    assert explained == names


def hook_headings() -> list[str]:
    """Return the headings that the hooks need, with their signatures as the source writes them."""
    return [
        f"## `{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns or ast.Constant(None))}`"
        for node in tree(Path(hookspecs.__file__)).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("framework_")
    ]


def test_the_reference_has_a_heading_for_every_hook_and_for_no_other() -> None:
    text = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `framework_.*$", text, re.MULTILINE) == hook_headings()


def test_a_hook_has_an_example_that_implements_it() -> None:
    text = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    lacks = []
    for heading in hook_headings():
        section = text.partition(heading + "\n")[2].partition("\n## ")[0]
        name = heading.partition("(")[0].removeprefix("## `")
        lacks += [f"{name}: {part}" for part in (f"@hookimpl\ndef {name}(", "First-party use:") if part not in section]
    assert lacks == []
