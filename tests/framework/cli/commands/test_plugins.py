"""`plugins` shows what can be chosen, where it comes from and what it needs, as text and as JSON."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError
from framework.api.component import ALL_GROUPS, GROUPS
from framework.api.fields import fields
from framework.cli.main import run_command
from framework.config.compose import compose
from framework.hooks.session import current
from framework.util.command import this_program
from tests.support.project import project

LONG = "a-library-with-a-name-so-long-that-it-would-be-broken-into-two-lines"
MINE = f'''
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Gt

from framework import Component, hookimpl
from framework.api.schema import LoggerConfig, MetricConfig

EXTRA = ("pytest", "acme-absent>=2", "--no-deps pytest==1", "{LONG}")


@dataclass
class Part:
    """A part."""

    size: Annotated[int, Gt(0)] = 3
    """How big."""


@dataclass
class AnvilConfig(MetricConfig):
    """An anvil [bold]falls[/] :boom: from above.

    It falls fast.
    """

    path: str = "???"
    """Where it falls."""
    part: Part = field(default_factory=lambda: Part(5))
    """The part."""
    parts: list[Part] = field(default_factory=list)
    """More parts."""


@dataclass
class NoConfig(MetricConfig):
    """No config library takes this."""

    kind: Literal["a"] = "a"


@dataclass
class PlainConfig(LoggerConfig):
    """Needs what is here."""


@dataclass
class OddConfig(LoggerConfig):
    """Needs nothing that there is."""


@hookimpl
def framework_components():
    yield Component("anvil", AnvilConfig, "mine:Anvil", extra=EXTRA)
    yield Component("none", NoConfig, "mine:No")
    yield Component("plain", PlainConfig, "mine:Plain", extra="pytest>=8")
    yield Component("odd", OddConfig, "mine:Odd", extra="acme==")


@hookimpl
def framework_config_paths():
    raise RuntimeError("no anvil")
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Make a folder with a plugin in a file, and presets of the user."""
    folder = tmp_path / "here"
    (folder / "conf/trainer").mkdir(parents=True)
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    presets = {
        "quick": "# @package trainer\n# yaml-language-server: $schema=x\n# Short.\ndefaults: [hf]\nmax_steps: 3\n",
        "quicker": "defaults:\n  - quick\n  - _self_\n\nmax_steps: 1\n",
        "broken": "max_steps: [\n",
        "bare": "# On nothing.\nmax_steps: 1\n",
        "round": "# Round and round.\ndefaults: [round]\n",
    }
    for name, text in presets.items():
        (folder / f"conf/trainer/{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def as_json(*words: str, cwd: Path, **env: str) -> dict[str, Any]:
    result = project(cwd, env=env).run("plugins", *words, "--json")
    assert result.code == 0, result.err
    parsed: dict[str, Any] = json.loads(result.out)
    return parsed


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert run_command("plugins", words) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("name", "words"), [("plugns", []), ("plugins", ["exportr"]), ("plugins", ["trainer", "hff"])])
def test_an_unknown_command_group_or_option_is_reported_with_the_nearest(name: str, words: list[str]) -> None:
    with pytest.raises(FrameworkError, match=r"Did you mean '(plugins|exporter|hf)'"):
        run_command(name, words)


def test_a_mistake_ends_with_exit_code_2_and_prints_no_json(tmp_path: Path) -> None:
    result = project(tmp_path).run("plugins", "trainr", "--json")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(
        "unknown group 'trainr'. Did you mean 'trainer'? Valid: adapter, audit, callback, command, data, "
    )


@pytest.mark.parametrize("columns", [40, 80, 250])
def test_every_group_and_option_has_a_row_and_no_line_is_too_wide(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = shown(capsys)
    headings = [line.partition("=")[0] for line in lines if line and not line.startswith(" ")]
    assert [heading for heading in headings if heading in GROUPS] == list(GROUPS)
    rows = {line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "}
    assert {name for group in ALL_GROUPS for name in current().plugins.components(group)} <= rows
    table = lines[: lines.index("To install what is missing")] if "To install what is missing" in lines else lines
    assert max(map(len, table)) <= min(columns, 120)
    places = {line.find("framework-f") for line in lines if "framework-f" in line}
    assert len(places) == 1 or columns != 80  # the columns of all groups are aligned


def test_one_group_is_shown_alone(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "exporter")
    assert lines[0] == "exporter=[…]  Something made from the trained model."
    assert lines[1].split()[0] == "adapter"
    assert not any("metric" in line for line in lines)


def test_commands_are_shown_as_they_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "command")
    assert lines[0] == "python -m framework …  A command other than a run."
    assert any(line.startswith("  plugins ") for line in lines)


def test_a_preset_is_shown_with_what_it_builds_on(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = [line for line in shown(capsys, "model") if line.startswith("  llama8b ")]
    assert line.split(maxsplit=1)[1].startswith("Llama 3.1 8B Instruct, from a")
    assert line.endswith("  on local")
    (line,) = [line for line in shown(capsys, "evaluator") if line.startswith("  short_prompts ")]
    assert line.endswith("  on prompts")


def test_a_setting_is_shown_with_its_range_its_default_and_what_it_means(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = shown(capsys, "trainer", "hf")
    assert lines[:2] == [
        "trainer=hf",
        "  A loop of our own with packed steps, on accelerate.",
    ]
    assert "Settings, changed with trainer.NAME=VALUE:" in lines
    place = next(number for number, line in enumerate(lines) if line.split()[:1] == ["num_train_epochs"])
    assert lines[place].split(maxsplit=1)[1] == "a number above 0, up to 1000000; default 3"
    assert lines[place + 1].strip() == "Passes over the training rows; `max_steps` overrides it."


def test_the_settings_of_an_option_of_several_are_shown_as_they_are_changed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "metric", "exact_match")
    assert lines[0] == "metric=[exact_match]"
    assert "Settings, changed with metric.exact_match.NAME=VALUE:" in lines


def test_a_preset_is_shown_with_the_values_that_it_sets(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "model", "llama8b")
    assert lines[:2] == ["model=llama8b", "  Llama 3.1 8B Instruct, from a copy that needs no login."]
    assert any(line.endswith("text; default unsloth/Meta-Llama-3.1-8B-Instruct") for line in lines)
    lines = shown(capsys, "evaluator", "short_prompts")
    assert any(line.startswith("  prompts.max_new_tokens ") and line.endswith("default 40") for line in lines)


def test_json_of_all_groups_has_every_option(tmp_path: Path) -> None:
    told = as_json(cwd=tmp_path)
    assert list(told["groups"]) == list(ALL_GROUPS)
    assert told["skipped"] == told["disabled"] == []
    assert [name for name, group in told["groups"].items() if group["several"]] == [
        "audit", "callback", "metric", "reward", "evaluator", "exporter", "logger",
    ]  # fmt: skip
    option = told["groups"]["logger"]["options"]["wandb"]
    assert option["package"].startswith("framework-finetune ")
    assert (option["plugin"], option["needs"]) == ("trackers", ["framework-finetune[wandb]"])
    assert told["groups"]["model"]["presets"]["llama1b"]["preset_of"] == ["local"]
    assert set(as_json("model", cwd=tmp_path)["groups"]) == {"model"}


def test_json_of_an_option_has_every_field(tmp_path: Path) -> None:
    told = as_json("trainer", "hf", cwd=tmp_path)
    schema = current().plugins.components("trainer")["hf"].schema
    named = dict.fromkeys(setting["name"].partition(".")[0] for setting in told["settings"])
    assert [*named] == [field.name for field in fields(schema)]
    assert told["settings"][0] == {
        "name": "learning_rate",
        "type": "float",
        "valid": "a number above 0, up to 1",
        "required": False,
        "default": 0.0002,
        "doc": fields(schema)[0].doc,
    }
    assert all(setting["doc"] for setting in told["settings"])


def test_a_setting_without_a_default_is_marked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert any(line.endswith("; has to be set") for line in shown(capsys, "data", "hub"))
    (setting,) = [part for part in as_json("data", "hub", cwd=tmp_path)["settings"] if part["name"] == "path"]
    assert (setting["required"], setting["default"]) == (True, None)


def test_what_is_missing_is_named_with_a_command_in_one_line(mine: Path) -> None:
    result = project(mine).run("plugins", "plugins=[./mine.py]")
    lines = [line.rstrip() for line in result.out.splitlines()]
    assert f"notinstalled:{LONG},acme-absent,pytest" in "".join(result.out.split())
    command = f"pip install 'acme-absent>=2' && pip install --no-deps pytest==1 && pip install {LONG}"
    assert f"  metric=[anvil]: {command}" in lines
    assert "  logger=[odd]: pip install acme==" in lines
    assert not any("logger=[plain]" in line for line in lines)
    assert any(line.startswith("  anvil  ") for line in lines)
    assert "[bold]falls[/] :boom:" in " ".join(result.out.split())


def test_the_libraries_of_one_option_are_reported(mine: Path) -> None:
    anvil = project(mine).run("plugins", "metric", "anvil", "plugins=[./mine.py]").out
    assert "  An anvil [bold]falls[/] :boom: from above.\n" in "\n".join(map(str.rstrip, anvil.splitlines()))
    assert "  It falls fast." in anvil
    assert "From mine.py, plugin 'mine': mine:Anvil" in anvil
    needs = f"Needs pytest and acme-absent>=2 and --no-deps pytest==1 and {LONG}; not installed: {LONG}, acme-absent, "
    assert needs in " ".join(anvil.split())
    assert "Needs pytest>=8; all installed" in project(mine).run("plugins", "logger", "plain", "plugins=[mine.py]").out


def test_the_fields_of_a_group_of_settings_have_dotted_names(mine: Path) -> None:
    told = as_json("metric", "anvil", "plugins=[./mine.py]", cwd=mine)
    assert [(part["name"], part["type"], part["default"]) for part in told["settings"]] == [
        ("path", "str", None),
        ("part.size", "int", 5),
        ("parts", "list[Part]", []),
        ("parts[].size", "int", 3),
    ]


def test_what_is_left_out_and_what_is_switched_off_is_reported_at_the_end(mine: Path) -> None:
    off = {"FRAMEWORK_DISABLE_PLUGINS": "trackers,trakers"}
    result = project(mine, env=off).run("plugins", "plugins=[./mine.py]")
    lines = result.out.splitlines()
    broken = lines[lines.index("Skipped because broken") :]
    assert any(line.startswith(f"  mine ({mine}/mine.py), metric 'none': ") for line in broken)
    assert any("framework_config_paths: RuntimeError: no anvil" in line for line in broken)
    assert lines[-3:] == [
        "Switched off by FRAMEWORK_DISABLE_PLUGINS", "  trackers", "  trakers (there is no plugin of that name)",
    ]  # fmt: skip
    assert not any("wandb" in line for line in lines)
    told = as_json("plugins=[./mine.py]", cwd=mine, **off)
    assert told["disabled"] == ["trackers", "trakers"]
    assert {part["what"] for part in told["skipped"]} == {"metric 'none'", "framework_config_paths"}


def test_presets_of_the_user_are_shown_the_broken_ones_too(mine: Path) -> None:
    told = as_json("trainer", cwd=mine)["groups"]["trainer"]["presets"]
    assert {name: preset["preset_of"] for name, preset in told.items()} == {
        "bare": [], "broken": [], "quick": ["hf"], "quicker": ["hf"], "round": [],
    }  # fmt: skip
    assert told["quick"]["summary"] == "Short."
    assert told["quick"]["file"] == "conf/trainer/quick.yaml"
    assert told["broken"]["summary"].startswith("cannot be read: ")
    settings = {part["name"]: part["default"] for part in as_json("trainer", "quicker", cwd=mine)["settings"]}
    assert (settings["max_steps"], settings["logging_steps"]) == (1, 1)


@pytest.mark.parametrize("words", [[], ["gpu_8gb", "--json"]])
def test_experiments_have_a_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("plugins", ["experiment", *words]) == 0
    group = capsys.readouterr().out
    assert run_command("experiments", words) == 0
    assert capsys.readouterr().out == group != ""


def test_experiments_are_described_as_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("plugins", ["experiment"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("+experiment=… Choices and values for a task. decide A 135M model learns")
    assert run_command("plugins", ["experiment", "gpu_8gb", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["choices"] == {
        "model": "qwen3_4b",
        "quantization": "nf4",
        "adapter": "lora",
        "data": "hub",
        "optimizer": "adamw_8bit",
    }
    assert found["settings"]["adapter.r"] == 16  # its own, in place of the 32 that it is built on
    assert found["settings"]["trainer.max_seq_length"] == 2048
    assert run_command("plugins", ["experiment", "gpu_8gb"]) == 0
    assert f"  {this_program()} +experiment=gpu_8gb\n" in capsys.readouterr().out
    with pytest.raises(FrameworkError, match=r"unknown experiment 'gpu_8g'\. Did you mean 'gpu_8gb'"):
        run_command("plugins", ["experiment", "gpu_8g"])


@pytest.mark.parametrize(
    ("group", "option", "word"),
    [
        ("evaluator", "short_prompts", "evaluator=[mine]"),
        ("model", "llama1b", "model=mine"),
        ("exporter", "gguf", "exporter=[mine]"),
    ],
)
def test_a_preset_to_copy_composes_to_what_it_was_made_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    group: str,
    option: str,
    word: str,
) -> None:
    before = compose([word.replace("mine", option)])[group]
    assert run_command("plugins", [group, option, "--yaml"]) == 0
    text = capsys.readouterr().out
    folder = tmp_path / "conf" / group
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert compose([word])[group] == before
    # What is there as a comment is valid as well.
    every = "\n".join(re.sub(r"^#(?=(  )*\w+:)", "", line) for line in text.splitlines())
    (folder / "mine.yaml").write_text(every, encoding="utf-8")
    assert compose([word])[group] == before


def test_a_preset_to_copy_is_of_one_option() -> None:
    for words in (
        ["--yaml"],
        ["trainer", "--yaml"],
        ["command", "chat", "--yaml"],
        ["experiment", "gpu_8gb", "--yaml"],
    ):
        with pytest.raises(FrameworkError, match="--yaml writes a preset of one option"):
            run_command("plugins", words)
