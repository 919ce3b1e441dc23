"""Every YAML below conf/ composes, and the values of the walkthrough are the ones promised."""

import shlex
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from framework.api.component import GROUPS
from framework.cli.arguments import complete
from framework.config.check import check, option_name
from framework.config.compose import compose, conf_dir
from framework.util.errors import FrameworkError
from framework_plugins.hf.settings.config import Bias, Switch
from tests.support.project import project

FILES = sorted(path.relative_to(conf_dir()) for path in conf_dir().rglob("*.yaml"))
COMMAND = "# python -m framework "
EXPERIMENTS = [path for path in FILES if path.parent.name == "experiment"]


def composed(*words: str) -> DictConfig:
    config = compose(words)
    check(config)
    return config


@pytest.mark.parametrize("group", sorted({path.parent.name for path in FILES} - {"", "experiment"}))
def test_every_preset_composes(group: str) -> None:
    for option in (path.stem for path in FILES if path.parent.name == group):
        config = composed(f"{group}=[{option}]" if GROUPS[group].several else f"{group}={option}")
        assert isinstance(OmegaConf.to_object(config[group]), GROUPS[group].base | dict)


def test_what_is_changed_in_a_config_is_in_no_other() -> None:
    first = compose(["metric=[exact_match]", "adapter.r=4"])
    first.trainer.max_steps, first.metric.exact_match.ignore_case = 3, True
    OmegaConf.update(first, "format.columns.output", "answer", force_add=True)
    second = compose(["metric=[exact_match]"])
    assert (second.trainer.max_steps, second.metric.exact_match.ignore_case) == (None, False)
    assert (second.adapter.r, second.format.columns) == (16, {})
    assert set(ConfigStore.instance().repo).isdisjoint(GROUPS)  # which Hydra would copy with each composition


def test_a_file_at_the_top_of_a_config_folder_is_no_option_and_is_not_announced(tmp_path: Path) -> None:
    (tmp_path / "conf" / "trainer").mkdir(parents=True)
    (tmp_path / "conf" / "extra.yaml").write_text("seed: 3\n", encoding="utf-8")
    words = ("stages=[plan]", "run_dir=run")
    assert project(tmp_path).run(*words).err == ""
    (tmp_path / "conf" / "trainer" / "mine.yaml").write_text("defaults: [hf]\n", encoding="utf-8")
    assert project(tmp_path).run(*words).err == "options of ./conf: trainer=mine\n"


def test_a_file_that_hydra_never_reads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "conf" / "trainer").mkdir(parents=True)
    file = tmp_path / "conf" / "trainer" / "mine.yml"
    file.write_text("defaults: [hf]\n", encoding="utf-8")
    result = project(tmp_path).run("stages=[plan]")
    assert (result.code, result.err) == (2, f"{file}: Hydra reads only .yaml files: rename it to mine.yaml\n")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("3", "it gives int, not text"), ("'pkg://acme_missing.conf'", "ModuleNotFoundError: No module named 'acme_m")],
)
def test_a_config_folder_of_a_plugin_that_is_none_is_left_out(tmp_path: Path, path: str, reason: str) -> None:
    source = f"from framework import hookimpl\n@hookimpl\ndef framework_config_paths(): yield {path}\n"
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    result = project(tmp_path).run("plugins=[./mine.py]", "stages=[plan]", "run_dir=run")
    (line,) = result.err.splitlines()
    assert line.startswith(f"plugin 'mine' of {tmp_path}/mine.py: framework_config_paths is skipped: {reason}")
    assert result.code == 0


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_opens_with_the_command_that_runs_it(file: Path) -> None:
    package, command, *_ = (conf_dir() / file).read_text(encoding="utf-8").splitlines()
    assert package == "# @package _global_"
    assert command.startswith(COMMAND)
    words = shlex.split(command.removeprefix(COMMAND))
    assert composed(*words).name == file.stem


def test_without_arguments_the_quickstart_runs() -> None:
    assert composed(*complete([])) == composed("+experiment=quickstart")


def test_the_walkthrough_has_exactly_the_promised_values() -> None:
    config = composed("+experiment=llama8b_qlora")
    plain = {group: OmegaConf.to_container(config[group]) for group in ("model", "quantization", "adapter", "trainer")}
    assert plain["model"]["path"] == "unsloth/Meta-Llama-3.1-8B-Instruct"
    assert plain["quantization"] == {"double_quant": True, "experts": Switch.auto}
    assert OmegaConf.get_type(config.quantization).__name__ == "NF4Config"
    adapter = {
        "r": 32,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "bias": Bias.none,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "modules_to_save": [],
        "layers_to_transform": None,
    }
    assert {key: plain["adapter"][key] for key in adapter} == adapter
    expected = {
        "max_seq_length": 2048,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "warmup_steps": 10,
        "num_train_epochs": 3,
        "max_steps": None,
        "learning_rate": 2e-4,
    }
    assert {key: plain["trainer"][key] for key in expected} == expected
    assert option_name(OmegaConf.get_type(config.optimizer)) == "adamw_8bit"
    assert config.seed == 42


@pytest.mark.parametrize("plus", ["", "+"])
def test_a_field_that_takes_any_names_takes_them_without_a_plus(plus: str) -> None:
    words = [f"{plus}format.columns.output=answer", f"{plus}model.chat_template_kwargs.enable_thinking=false"]
    config = compose(words)
    check(config, words)
    assert config.format.columns == {"output": "answer"}
    assert config.model.chat_template_kwargs == {"enable_thinking": False}
    assert compose(["format.columns={output: answer, input: more}"]).format.columns.input == "more"


@pytest.mark.parametrize("value", ["[a,b]", "{a: b}"])
def test_a_list_or_a_group_where_a_text_belongs_is_reported(value: str) -> None:
    words = [f"format.columns={{output: {value}}}"]
    with pytest.raises(FrameworkError, match=r"format\.columns\.output=.* must be text"):
        check(compose(words), words)
