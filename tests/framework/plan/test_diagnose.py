"""What Hydra refuses to compose is reported with its place, the nearest name and the valid values."""

from pathlib import Path

import pytest
from hydra.types import RunMode

from framework import FrameworkError, testing
from framework.plan.load import load_hydra, load_plan
from tests.support.project import project


def told(*words: str) -> list[str]:
    """Return what the command line says to words, which have to be refused."""
    with pytest.raises(FrameworkError) as caught:
        load_plan(words)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (
            "trainer.lerning_rate=1",
            "trainer.lerning_rate=1: unknown key 'trainer.lerning_rate'. Did you mean 'trainer.l",
        ),
        ("trainer.lr=1", "trainer.lr=1: unknown key 'trainer.lr'. Did you mean 'trainer.learning_rate'?"),
        ("sed=1", "sed=1: unknown key 'sed'. Did you mean 'seed'?"),
        ("evaluator.promts.count=1", "unknown key 'evaluator.promts'. Did you mean 'evaluator.prompts'?"),
        ("evaluator.prompts.cuont=1", "Did you mean 'evaluator.prompts.count'?"),
        (
            "format.zzz=1",
            "format.zzz=1: unknown key 'format.zzz'. Valid in format=auto: cluster, columns, strip, sy",
        ),
        ("adapter=loro", "adapter=loro: unknown adapter 'loro'. Did you mean 'lora'? Valid: dora, full, lora, rslora."),
        ("metric=[exact_mtch]", "metric=[exact_mtch]: unknown metric 'exact_mtch'. Did you mean 'exact_match'?"),
        ("+experiment=quickstar", "unknown experiment 'quickstar'. Did you mean 'quickstart'? Valid: "),
        ("experiment=quickstart", "unknown config group 'experiment'. Did you mean '+experiment'?"),
        ("adaptor=lora", "adaptor=lora: unknown key 'adaptor'. Did you mean 'adapter'?"),
        ("trainer.learning_rate=fast", "trainer.learning_rate=fast must be a number above 0, up to 1"),
        ("trainer.max_seq_length=7.5", "trainer.max_seq_length=7.5 must be a whole number above 0"),
        ("stages=[plon]", "stages=[plon] must be a list that is not empty, each one of plan, data,"),
        ("adapter.r=null", "adapter.r=null must be a whole number above 0"),
        ("data.overflow=trim", "data.overflow=trim must be one of drop, truncate, fail"),
        ("data.overflow=truncat", "must be one of drop, truncate, fail. Did you mean 'truncate'?"),
        ("seed=[1", "cannot read 'seed=[1': "),
        ("data.path=a'b.jsonl", "cannot read 'data.path=a'b.jsonl'. Quote values that contain these characters: "),
        ("data.path=a'b.jsonl", r'''these characters: "data.path=\"a'b.jsonl\""'''),
        ("logger=null", "logger=null: to choose none, set logger=[]"),
        ("adapter=null", "adapter=null: adapter needs one of dora, full, lora, rslora"),
        ("quantization=[nf4,int8]", "quantization takes only one option: one of int8, nf4, none"),
        ("+adapter=lora", "+adapter=lora: adapter already has an option: change it with adapter=lora"),
        ("+adapter.r=8", "An item is already at 'adapter.r'. Either remove + prefix: 'adapter.r=8'"),
        ("adapter.target_modules.x=1", "unknown key 'adapter.target_modules.x'"),
        ("plan.calibrate=true", "plan.calibrate=true: calibrate is gone: no probe corrects the estimate any more. Lea"),
        ("~seed", "seed has no value: set seed=…"),
        ("~metric", "~metric: to choose none, set metric=[]"),
        ("+experiment=", "+experiment=: name an experiment, or leave this out"),
        ("+metric@foo=exact_match", "+metric@foo=exact_match: the option 'exact_match' cannot be used at 'foo'"),
        ("+adapter@metric.x=lora", "+adapter@metric.x=lora: the option 'lora' cannot be used at 'metric.x'"),
        ("name='${'", "name='${': name=${ cannot be read: no viable alternative"),
        ("++trainer.foo.bar=1", "++trainer.foo.bar=1: unknown key 'trainer.foo'"),
        ("seed=1e3", "seed=1e3: seed=1000.0 must be a whole number from 0 to"),
        (
            "metric=[[exact_match]]",
            "metric=[[exact_match]]: metric takes a list of names, some of bleu, both_words, ",
        ),
        ("adapter=[[lora]]", "adapter=[[lora]]: adapter needs one of dora, full, lora, rslora"),
        ("+experiment=[[quickstart]]", "name an experiment, or leave this out"),
        ("hydra/launcher=[[basic]]", "hydra/launcher takes the name of an option, which is text"),
        ("trainer={lr:1}", "trainer={lr:1}: unknown key 'trainer.lr'"),
        ("trainer.attention=flash", "must be one of auto, sdpa, eager, flash_attention_2. Did you mean 'flash_"),
    ],
)
def test_a_mistake_of_the_command_line_is_reported_in_one_line(word: str, text: str) -> None:
    (line,) = told(word)
    assert text in line


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("hydra.job_logging.handlers.x.class=os.system", "unknown key 'hydra.job_logging.handlers.x.class'"),
        ("+hydra.callbacks.x=5", "hydra.callbacks.x=5 must be named values"),
        ("hydra.launcher=5", "hydra.launcher=5 must be named values"),
        ("hydra.verbose={a:1}", "hydra.verbose={a:1} must be true, false, or the names of loggers"),
    ],
)
def test_a_setting_of_hydra_of_another_type_is_reported_in_one_line(word: str, text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        load_hydra([word], RunMode.RUN)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_keys_and_values_that_hydra_refuses_come_together_and_what_composed_is_checked_after_them() -> None:
    words = ["trainer.lerning_rate=1", "trainer.max_seq_length=7.5", "trainer.logging_steps=0", "data=local_file"]
    first, second = told(*words)
    assert first.startswith(
        "trainer.lerning_rate=1: unknown key 'trainer.lerning_rate'. Did you mean 'trainer.learning_"
    )
    assert second == "trainer.max_seq_length=7.5 must be a whole number above 0"
    assert told(*words[2:]) == [
        "trainer.logging_steps=0 must be a whole number above 0",
        "data.path has no value: set data.path=…",
    ]


def test_a_problem_of_several_words_is_reported_once() -> None:
    words = ["exporter=[adapter]", "exporter.gguf.folder=a", "exporter.gguf.parity.check=false"]
    with pytest.raises(FrameworkError) as caught:
        load_plan(words)
    first = "exporter.gguf.folder=a, exporter.gguf.parity.check=false: unknown key 'exporter.gguf'"
    assert str(caught.value).startswith(first)
    assert str(caught.value).count("unknown key") == 1


def test_of_overrides_and_options_the_first_mistake_is_reported() -> None:
    words = ["seed=[1", "logger=null", "adapter=loro", "trainer.lerning_rate=1"]
    for number, start in enumerate(
        ("cannot read 'seed=[1'", "logger=null: to choose none", "adapter=loro: unknown", "trainer.l")
    ):
        (line,) = told(*words[number:])
        assert line.startswith(start)


def test_the_combination_that_cannot_work_is_reported_beside_a_value_out_of_its_range() -> None:
    first, second = told("adapter=full", "quantization=nf4", "trainer.max_steps=0")
    assert first == "trainer.max_steps=0 must be a whole number above 0, up to 1000000000, or null"
    # It quotes both arguments, so it does not name them again.
    assert second == (
        "adapter=full trains all weights and quantization=nf4 freezes them: set quantization=none, or adapter=lora"
    )


def test_every_value_of_a_sweep_is_looked_at_before_the_first_point_runs(tmp_path: Path) -> None:
    for words, line in {
        (
            "adapter=lora,loro",
        ): "adapter=loro: unknown adapter 'loro'. Did you mean 'lora'? Valid: dora, full, lora, rslora.",
        ("adapter=lora,dora",): "trainer.learning_rate=fast must be a number above 0, up to 1",
    }.items():
        result = project(tmp_path).run("-m", "trainer.learning_rate=1e-4,fast", *words, "stages=[plan]")
        assert (result.code, result.out, result.err) == (2, "", f"{line}\n")


MINE = """# @package _global_
defaults:
  - base
  - override /quantization: nf4

nam: mine
trainer:
  lerning_rate: 1
  max_steps: 0
  learning_rate: fast
model:
  path: x
data: hub
"""


def test_a_file_is_reported_by_name_and_line(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(MINE, encoding="utf-8")
    (folder / "base.yaml").write_text(
        "# @package _global_\ndefaults:\n  # all weights\n  - override /adapter: fll  # a slip\n"
    )
    _, line = project(tmp_path).run("+experiment=mine", "seed=x").err.splitlines()
    assert line.startswith("conf/experiment/base.yaml:4: unknown adapter 'fll'. Did you mean 'full'? Valid: dora, ")
    (folder / "base.yaml").write_text("# @package _global_\ndefaults:\n  - override /adapter: full\n", encoding="utf-8")
    result = project(tmp_path).run("+experiment=mine", "seed=x")
    assert [line.partition(". ")[0].partition(" must")[0] for line in result.err.splitlines()] == [
        "options of ./conf: +experiment=base, +experiment=mine",
        "conf/experiment/mine.yaml:6: unknown key 'nam'",
        "conf/experiment/mine.yaml:8: unknown key 'trainer.lerning_rate'",
        "conf/experiment/mine.yaml:10: trainer.learning_rate=fast",
        "conf/experiment/mine.yaml:12: unknown key 'model.path': model=smollm2_135m does not have it",
        "conf/experiment/mine.yaml:13: data=hub does not choose an option here: in a file, write "
        "'- override /data: hub' in its defaults",
        "seed=x",
    ]
    assert (result.code, result.out) == (2, "")


@pytest.mark.parametrize(
    ("file", "yaml", "text"),
    [
        ("experiment/e.yaml", "defaults:\n  - override /metric: []\n  - /metric@metric.x: exact_match\n",
         "+experiment=e: in a defaults list, the entries with 'override' have to come after all others"),
        ("experiment/e.yaml", "defaults:\n  - /metric@metric.x: exact_mtch\n",
         "conf/experiment/e.yaml:3: unknown metric 'exact_mtch'. Did you mean 'exact_match'? Valid: "),
        ("experiment/e.yaml", "defaults:\n  - override adapter: full\n",
         "conf/experiment/e.yaml:3: write it with a slash: '- override /adapter: full'"),
        ("experiment/e.yaml", "defaults:\n  - /adapter: dora\n",
         "conf/experiment/e.yaml:3: adapter already has an option: change it with '- override /adapter: dora'"),
        ("experiment/e.yaml", "defaults:\n  - optional override /adapter: foo\n",
         "conf/experiment/e.yaml:3: unknown adapter 'foo'."),
        ("experiment/e.yaml", "trainer.max_steps: 7x\n",
         "conf/experiment/e.yaml:2: 'trainer.max_steps' is one key with a dot in it: write 'trainer:', and the rest"),
        ("experiment/e.yaml", "- a\n- b\n", "conf/experiment/e.yaml:2: a config file has to hold keys and values"),
        ("experiment/e.yaml", "trainer: &t {max_steps: 3}\nadapter: {<<: *t, r: 3}\n",
         "conf/experiment/e.yaml:2: unknown key 'adapter.max_steps': it is called trainer.max_steps here"),
        ("adapter/e.yaml", "r: 3\n",
         "conf/adapter/e.yaml: adapter is not built on any option of 'adapter': start its defaults list with one of"),
        ("adapter/e.yaml", "defaults:\n  - lora\nadapter:\n  r: 3\n",
         "conf/adapter/e.yaml:4: a preset of 'adapter' has its keys at the top level of the file: remove 'adapter:'"),
        ("metric/e.yaml", "ignore_case: true\n",
         "conf/metric/e.yaml: metric is not built on any option of 'metric': start its defaults list with one of"),
    ],
)  # fmt: skip
def test_a_file_of_the_wrong_form_is_reported_by_name_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, yaml: str, text: str
) -> None:
    place = tmp_path / "conf" / file
    place.parent.mkdir(parents=True)
    group = place.parent.name
    head = "# @package _global_\n" if group == "experiment" else ""
    place.write_text(head + yaml, encoding="utf-8")
    word = {"experiment": "+experiment=e", "adapter": "adapter=e", "metric": "metric=[e]"}[group]
    monkeypatch.chdir(tmp_path)
    (line,) = told(word)
    assert line.startswith(text)


def test_an_experiment_without_its_first_line_gets_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "e.yaml").write_text("seed: 7\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    text = "its keys belong to no group: make '# @package _global_' the first line of the experiment"
    assert told("+experiment=e") == [f"conf/experiment/e.yaml:1: {text}"]


def test_a_file_that_is_no_yaml_is_reported_by_name_and_line(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "trainer"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults: [hf]\nmax_steps: [\n", encoding="utf-8")
    result = project(tmp_path).run("--config-dir", "elsewhere", "trainer=mine")
    assert "mine.yaml:3: not valid YAML: expected the node content" in result.err.splitlines()[-1]
    assert result.code == 2


def test_a_preset_of_a_plugin_is_reported_by_its_file(tmp_path: Path) -> None:
    package = tmp_path / "acme_presets"
    (package / "conf" / "trainer").mkdir(parents=True)
    for folder in (package, package / "conf"):
        (folder / "__init__.py").touch()
    (package / "conf" / "trainer" / "slow.yaml").write_text("defaults: [hf]\nlerning_rate: 1\n", encoding="utf-8")
    hook = "@hookimpl\ndef framework_config_paths():\n    yield 'pkg://acme_presets.conf'\n"
    (tmp_path / "acme.py").write_text(f"from framework import hookimpl\n{hook}", encoding="utf-8")
    result = project(tmp_path).run("plugins=[acme.py]", "trainer=slow")
    (line,) = result.err.splitlines()
    assert line.startswith("acme_presets/conf/trainer/slow.yaml:2: unknown key 'trainer.lerning_rate'. Did you mean")


NESTED = """
from dataclasses import dataclass, field
from typing import Annotated
from annotated_types import Gt
from framework import metric
from framework.api.schema import MetricConfig

@dataclass
class Inner:
    "Inner."
    limit: Annotated[int, Gt(0)] = 1

@dataclass
class NestedConfig(MetricConfig):
    "Nested."
    inner: Inner = field(default_factory=Inner)
    steps: list[Inner] = field(default_factory=list)
    named: dict[str, Inner] = field(default_factory=dict)
    free: dict[str, int] = field(default_factory=dict)

@metric
def nest(answer, options: NestedConfig):
    "Nested."
    return float(options.inner.limit)
"""


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("nested") / "nested.py"
    file.write_text(NESTED, encoding="utf-8")
    testing.load_file(str(file))


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("inner.lmit=3", "unknown key 'metric.nest.inner.lmit'. Did you mean 'metric.nest.inner.limit'?"),
        ("inner.limit=0", "metric.nest.inner.limit=0 must be a whole number above 0"),
        (
            "steps=[{limit:1},{lmit:1}]",
            "metric.nest.steps=[{limit:1},{lmit:1}]: unknown key 'lmit'. Did you mean 'limit'? Valid: limit.",
        ),
        ("steps=[{limit:0}]", "metric.nest.steps[0].limit=0 must be a whole number above 0"),
        ("named={a:{lmit:1}}", "unknown key 'metric.nest.named.a.lmit'. Did you mean 'metric.nest.named.a.limit'?"),
        ("named={a:{limit:0}}", "metric.nest.named.a.limit=0 must be a whole number above 0"),
        ("free={a:x}", "metric.nest.free={a:x} must be named values, each a whole number"),
    ],
)
@pytest.mark.usefixtures("nested")
def test_what_stands_in_nested_groups_lists_and_dicts_is_looked_at(word: str, text: str) -> None:
    (line,) = told("metric=[nest]", f"metric.nest.{word}")
    assert text in line
