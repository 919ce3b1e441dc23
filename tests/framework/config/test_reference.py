"""The generated reference is complete, up to date and the same each time; its schemas accept what a run accepts."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import annotated_types
import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf

from framework import FrameworkError
from framework.api.component import GROUPS
from framework.api.fields import Field, fields
from framework.api.schema import RunConfig
from framework.cli.main import run_command
from framework.config import json_schema
from framework.config.catalog import options, settings
from framework.config.compose import EXPERIMENT, conf_dir
from framework.config.reference import PAGE, SCHEMAS, distribution, escape, generate, write
from framework.hooks.session import current
from tests.support import conf_page
from tests.support.forked_program import program
from tests.support.project import project

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = ROOT / "docs/reference"
PACKAGE = "framework-finetune"
FILES = [*sorted(conf_dir().rglob("*.yaml")), *sorted(ROOT.glob("plugins/*/conf/**/*.yaml"))]
MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)")


generated = functools.cache(generate)


@functools.cache
def validator(name: str) -> Draft202012Validator:
    schema = json.loads(generated(PACKAGE)[f"{SCHEMAS}/{name}.json"])
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def schema_of(file: Path) -> str:
    """Return the name of the schema that a file of a conf folder has to satisfy."""
    return file.parent.name if file.parent.name in GROUPS else EXPERIMENT


def complaints(name: str, config: Any) -> list[str]:
    return [error.message for error in validator(name).iter_errors(config)]


def test_the_committed_reference_is_up_to_date() -> None:
    files = {file for file in (COMMITTED / PAGE, *(COMMITTED / SCHEMAS).glob("*")) if file.exists()}
    committed = {file.relative_to(COMMITTED).as_posix(): file.read_text(encoding="utf-8") for file in files}
    made = generated(PACKAGE)
    stale = sorted(name for name in {*made, *committed} if made.get(name) != committed.get(name))
    assert not stale, f"not what is generated now, run `make reference`: {', '.join(stale)}"


def test_the_page_of_conf_is_up_to_date_and_has_every_file_in_it() -> None:
    text = conf_page.FILE.read_text(encoding="utf-8")
    assert text == conf_page.page(), "not what is generated now, run `make reference`"
    files = list(conf_page.FILE.parent.rglob("*/*.yaml"))
    assert len(files) > 10
    assert all(f"| `{file.stem}` | " in text for file in files)


def test_the_same_is_generated_each_time_and_in_each_process(tmp_path: Path) -> None:
    made = generate(PACKAGE)
    assert generate(PACKAGE) == made
    assert program("reference", "out", "--package", PACKAGE, cwd=tmp_path, env={"PYTHONHASHSEED": "7"}).code == 0
    written = {file.relative_to(tmp_path / "out").as_posix(): file for file in (tmp_path / "out").rglob("*.*")}
    assert {name: file.read_text(encoding="utf-8") for name, file in written.items()} == made


def test_nothing_of_this_machine_is_in_it() -> None:
    text = "".join(generated(PACKAGE).values())
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


def test_only_options_of_the_package_are_in_it() -> None:
    assert "### `model=echo`" in generated()[PAGE]
    assert "echo" not in "".join(generated(PACKAGE).values())


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_has_a_heading_and_every_setting_an_entry(group: str) -> None:
    page = generated(PACKAGE)[PAGE]
    section = page.partition(f"\n## `{group}=")[2].partition("\n## ")[0]
    above = page.partition(f"\n## `{group}=")[0]
    repeated = re.findall(r"`(.+?)`", section.partition("### As options of another group above\n")[2])
    for name, option in options(GROUPS[group]).items():
        if distribution(option) != PACKAGE:
            continue
        if name in repeated:
            assert f"=[{name}]`\n" in above
            continue
        own = section.partition(f"### `{group}={f'[{name}]' if GROUPS[group].several else name}`\n")
        assert own[1], f"{group} {name} has no heading"
        text = section.partition("###")[0] + own[2].partition("###")[0]
        rows = re.findall(r"^- `([\w.\[\]]+)", text, re.MULTILINE)
        for place, names in re.findall(r"^As `(.*)`: (.*)\.$", text, re.MULTILINE):
            assert f"### `{place}`\n" in page
            rows += re.findall(r"`(.+?)`", names)
        assert {setting.name for setting in settings(option.component.schema)} == set(rows)


def test_an_entry_has_default_type_range_and_meaning() -> None:
    page = generated(PACKAGE)[PAGE]
    assert "\n- `learning_rate=0.0002` (float >0 ≤1): Peak learning rate. " in page
    assert "\n- `path` (required): The id, owner/name.\n" in page
    assert "\n- `overflow=drop` (drop|truncate|fail): Rows longer than `trainer.max_seq_length`: " in page
    assert "\n- `ignore=[]` (as `fatal`): " in page


def test_a_setting_of_several_options_is_explained_once() -> None:
    section = generated(PACKAGE)[PAGE].partition("### `adapter=lora`\n")[2].partition("\n##")[0]
    assert "As `adapter=dora`: `start`, `merge_first`, " in section
    assert "\n- `start=" not in section


def test_the_settings_of_the_run_itself_are_in_it() -> None:
    section = generated(PACKAGE)[PAGE].partition("## The run\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^- `([\w.]+)", section, re.MULTILINE)
    assert rows == [row.name for row in settings(RunConfig) if re.split(r"\W", row.name)[0] not in GROUPS]
    assert "plan.gpu" in rows


def test_what_looks_like_html_is_escaped_outside_code() -> None:
    assert escape("outputs/<name>, `outputs/<name>`, <b>") == r"outputs/\<name>, `outputs/<name>`, \<b>"


def test_every_yaml_of_a_conf_folder_satisfies_its_schema() -> None:
    found = {file: complaints(schema_of(file), OmegaConf.to_container(OmegaConf.load(file))) for file in FILES}
    assert {file: said for file, said in found.items() if said} == {}


def test_every_yaml_of_a_conf_folder_names_its_schema() -> None:
    wrong = []
    for file in FILES:
        marked = MODELINE.search(file.read_text(encoding="utf-8"))
        named = (file.parent / marked.group(1)).resolve() if marked else None
        if named != COMMITTED / SCHEMAS / f"{schema_of(file)}.json" or not named.is_file():
            wrong.append(str(file.relative_to(ROOT)))
    assert wrong == [], "these have no line `# yaml-language-server: $schema=…` with the path of their schema"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("trainer", {"lerning_rate": 1e-4}),
        ("trainer", {"learning_rate": 0}),
        ("trainer", {"learning_rate": 1.5}),
        ("trainer", {"learning_rate": "fast"}),
        ("trainer", {"max_steps": 0}),
        ("trainer", {"max_steps": 1.5}),
        ("trainer", {"packing": "tight"}),
        ("trainer", {"packing": None}),
        ("trainer", {"defaults": "hf"}),
        ("trainer", {"defaults": [3]}),
        ("trainer", {"device": True}),
        ("adapter", {"target_modules": []}),
        ("adapter", {"target_modules": "q_proj"}),
        ("adapter", {"lora_dropout": 1}),
        ("data", {"validation_split": -0.1}),
        ("metric", {"ignore_case": "yes"}),
        ("model", []),
        ("experiment", {"traner": {}}),
        ("experiment", {"trainer": {"lerning_rate": 1e-4}}),
        ("experiment", {"trainer": {"learning_rate": 0}}),
        ("experiment", {"trainer": {"defaults": ["hf"]}}),
        ("experiment", {"seed": -1}),
        ("experiment", {"stages": ["plan", "trian"]}),
        ("experiment", {"stages": []}),
        ("experiment", {"metric": {"exact_match": {"ignore_cas": True}}}),
        ("experiment", {"metric": {"json_valid": {"ignore_case": True}}}),
        ("experiment", {"metric": {"mine": {"ignore_cas": True}}}),
        ("experiment", {"evaluator": {"prompts": {"count": 0}}}),
    ],
    ids=str,
)
def test_a_mistake_is_refused(name: str, config: Any) -> None:
    assert complaints(name, config)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("trainer", {}),
        ("trainer", {"defaults": ["hf", "_self_", {"override /model": "llama8b"}], "max_steps": None}),
        ("trainer", {"warmup_steps": "${trainer.max_steps}", "packing": "${oc.env:PACKING}", "learning_rate": 1}),
        ("trainer", {"max_steps": "???"}),
        ("data", {"path": "${oc.env:ROWS}", "revision": 3}),
        ("model", {"path": "???"}),
        ("metric", {"ignore_case": True}),
        ("experiment", {"name": "mine", "hydra": {"sweep": {"dir": "x"}}, "stages": ["plan", "data"]}),
        ("experiment", {"metric": {"exact_match": {"ignore_case": True}, "mine": {"ignore_case": False}}}),
        ("experiment", {"logger": {"wandb": {"tags": ["a"]}}, "run_dir": None}),
    ],
    ids=str,
)
def test_what_is_right_is_accepted(name: str, config: Any) -> None:
    assert complaints(name, config) == []


VALUES = [
    *(-1, 0, 1, 0.5, 2, 10**12, "x", "", None, True, [], ["a"], ["plan"], [1], {}, {"a": 1}),
    *("${seed}", "???", "auto", "drop", "3", "a/b"),
]


def every_field() -> Iterator[Field]:
    for schema in (
        RunConfig,
        *(part.schema for group in GROUPS for part in current().plugins.components(group).values()),
    ):
        yield from (field for field in fields(schema) if field.name not in GROUPS)


def test_a_schema_accepts_what_a_run_accepts_and_nothing_else() -> None:
    each_once = {f"{json_schema.property_of([each])} {each.type}": each for each in every_field()}  # options share many
    assert len(each_once) > 100
    assert [said for setting in each_once.values() for said in differences(setting)] == []


def differences(setting: Field) -> Iterator[str]:
    """Yield each value that a run takes and the schema refuses, or the other way round."""
    schema = Draft202012Validator({**json_schema.property_of([setting]), "$defs": json_schema.DEFINITIONS})
    own_rule = any(isinstance(bound, annotated_types.Predicate) for bound in setting.type.bounds)
    for value in VALUES:
        run, editor = setting.accepts(value), schema.is_valid(value)
        # A run also takes a number written as text, and numbers and texts for true and false.
        lenient = run and not editor and (value == "3" or setting.type.base is bool or value is True)
        if not (run == editor or lenient or (own_rule and editor)):
            yield f"{setting.schema.__name__}.{setting.name}={value!r}: the run says {run}, the schema {editor}"


class Colour(Enum):
    red = "red"


@dataclass
class Part:
    size: Annotated[int, annotated_types.MultipleOf(2)] = 2
    """How big."""


@dataclass
class Everything:
    part: Part = field(default_factory=Part)
    """One."""
    parts: Annotated[list[Part], annotated_types.MaxLen(2)] = field(default_factory=list)
    """Several."""
    named: Annotated[dict[str, float], annotated_types.MinLen(1)] = field(default_factory=lambda: {"a": 1.0})
    """By name."""
    colours: list[Colour | None] = field(default_factory=list)
    """Colours."""
    anything: Any = None
    """No matter."""
    word: Annotated[str, annotated_types.Len(1, 3)] = "abc"
    """A word."""


@pytest.mark.parametrize(
    ("config", "valid"),
    [
        ({"part": {"size": 4}, "parts": [{"size": 2}], "named": {"b": 2}, "colours": ["red", None]}, True),
        ({"anything": [{"x": 1}], "word": "ab"}, True),
        ({"part": {"size": 3}}, False),
        ({"part": {"sise": 2}}, False),
        ({"parts": [{"size": 3}]}, False),
        ({"parts": [{}, {}, {}]}, False),
        ({"named": {}}, False),
        ({"named": {"b": "x"}}, False),
        ({"colours": ["blue"]}, False),
        ({"word": "abcd"}, False),
    ],
    ids=str,
)
def test_nested_types_have_schemas_too(config: Any, *, valid: bool) -> None:
    schema = json_schema.preset(GROUPS["metric"], {"everything": Everything})
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(config) == valid


def test_settings_of_one_name_are_taken_as_any_option_takes_them() -> None:
    @dataclass
    class One:
        size: Annotated[int, annotated_types.Gt(5)] = 6

    @dataclass
    class Two:
        size: Colour | None = None

    schema = json_schema.preset(GROUPS["metric"], {"one": One, "two": Two})
    validates = Draft202012Validator(schema).is_valid
    assert [value for value in (6, "red", None, 5, "blue", 1.5) if validates({"size": value})] == [6, "red", None]
    assert "default" not in schema["properties"]["size"]


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("reference", [str(tmp_path / "new/folder"), f"--package={PACKAGE}"]) == 0
    # One for each group but `callback`, which has no option of ours, and one for experiments.
    assert capsys.readouterr().out == f"{tmp_path}/new/folder/config.md, and {len(GROUPS)} schemas beside it\n"
    assert sorted(path.name for path in (tmp_path / "new/folder").iterdir()) == [PAGE, SCHEMAS]


def test_a_plugin_of_the_user_is_in_the_reference(tmp_path: Path) -> None:
    source = "from framework import metric\n\n@metric\ndef polite(answer):\n    '''1 where it says please.'''\n"
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    assert project(tmp_path).run("reference", "out", "plugins=[./mine.py]").code == 0
    assert "### `metric=[polite]`\n\n1 where it says please." in (tmp_path / "out" / PAGE).read_text(encoding="utf-8")
    (tmp_path / "out" / PAGE).unlink()
    assert project(tmp_path).run("reference", "out", "plugins=[./mine.py]", "--package", "mine.py").code == 0
    assert "### `metric=[exact_match]`" not in (tmp_path / "out" / PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["a", "--package="], "unknown package ''. "),
        (["a", "--package", "framework-fine"], "unknown package 'framework-fine'. Did you mean 'framework-finetune'?"),
    ],
    ids=str,
)
def test_a_mistake_in_the_words_is_reported_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FrameworkError, match=re.escape(text)):
        run_command("reference", words)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FrameworkError, match=r"file.* cannot be written: (Not a directory|File exists)"):
        run_command("reference", [str(tmp_path / "file")])


def test_files_end_with_one_newline_and_have_no_carriage_return(tmp_path: Path) -> None:
    for file in write(tmp_path, PACKAGE):
        content = file.read_bytes()
        assert content.endswith(b"\n")
        assert not content.endswith(b"\n\n")
        assert b"\r" not in content
