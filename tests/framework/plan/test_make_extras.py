"""A plan whose options lack a library is refused in one line, with the command that installs it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

from framework import FrameworkError, hookimpl, testing
from framework.api.problem import Problem
from framework.hooks.session import current
from framework.util import requirements
from tests.support.project import project

ROOT = Path(__file__).parents[3]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Let the distributions of this set be absent."""
    absent: set[str] = set()

    def found(name: str) -> Distribution:
        if name in absent:
            raise PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(requirements, "distribution", found)
    return absent


def refusal(words: list[str], folder: Path) -> str:
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=folder / "run")
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "library", "option", "extra"),
    [
        (["evaluator=[lm_eval]"], "lm-eval", "evaluator=lm_eval", "evals"),
        (["metric=[rouge1]", "objective=rouge1"], "rouge-score", "metric=rouge", "evals"),
        (["metric=[bleu]", "objective=bleu"], "sacrebleu", "metric=bleu", "evals"),
        (["metric=[chrf]", "objective=chrf"], "sacrebleu", "metric=chrf", "evals"),
        (
            [
                "metric=[judge]",
                "objective=judge",
                "metric.judge.base_url=http://localhost:1/v1",
                "metric.judge.model=m",
            ],
            "httpx",
            "metric=judge",
            "evals",
        ),
        (["logger=[wandb]"], "wandb", "logger=wandb", "wandb"),
        (["logger=[tensorboard]"], "tensorboard", "logger=tensorboard", "tensorboard"),
        (["logger=[mlflow]"], "mlflow-skinny", "logger=mlflow", "mlflow"),
    ],
)
def test_an_option_without_its_library_is_refused_with_the_command(
    without: set[str], tmp_path: Path, words: list[str], library: str, option: str, extra: str
) -> None:
    without.add(library)
    command = f"pip install -e {shlex.quote(f'{ROOT}[{extra}]')}"
    assert refusal(words, tmp_path).endswith(f"{option} needs {library}: {command}")


def test_several_options_are_refused_together(without: set[str], tmp_path: Path) -> None:
    without |= {"lm-eval", "sacrebleu", "wandb"}
    line = refusal(["metric=[bleu,chrf]", "objective=bleu", "evaluator=[lm_eval]", "logger=[wandb]"], tmp_path)
    evals, wandb = (f"pip install -e {shlex.quote(f'{ROOT}[{extra}]')}" for extra in ("evals", "wandb"))
    assert line.startswith(
        "metric=bleu and metric=chrf and evaluator=lm_eval and logger=wandb need lm-eval, sacrebleu, wandb: "
        f"{evals} && {wandb} ("
    )


def test_a_schema_without_its_library_is_refused_with_the_command(without: set[str], tmp_path: Path) -> None:
    without.add("jsonschema")
    words = ["metric=[json_valid]", "objective=json_valid"]
    testing.plan(words, run_dir=tmp_path / "run")
    line = refusal([*words, "metric.json_valid.schema={type: object}"], tmp_path)
    assert line.endswith(f"a schema needs jsonschema: pip install -e {shlex.quote(f'{ROOT}[evals]')}")


def test_weights_in_four_bits_without_bitsandbytes_are_refused(without: set[str], tmp_path: Path) -> None:
    without.add("bitsandbytes")
    assert refusal(["quantization=nf4"], tmp_path).endswith(
        "quantization=nf4 needs bitsandbytes: pip install 'bitsandbytes>=0.49,<1'"
    )


def test_a_plan_alone_is_made_without_what_trains(without: set[str], tmp_path: Path) -> None:
    without |= {"bitsandbytes", "unsloth"}
    testing.plan(["quantization=nf4", "trainer=unsloth", "stages=[plan]"], run_dir=tmp_path / "run")


class FourBits:
    def __init__(self, *, missing: bool) -> None:
        self.missing = missing

    @hookimpl
    def framework_check_plan(self) -> Iterable[Problem]:
        yield Problem("four bits need a wheel", ("quantization",), missing_library=self.missing)


def test_a_missing_library_that_a_plugin_reports_is_not_reported_again(without: set[str], tmp_path: Path) -> None:
    without.add("bitsandbytes")
    for missing in (True, False):
        plugin = FourBits(missing=missing)
        current().plugins.manager.register(plugin, name="four_bits")
        try:
            with pytest.raises(FrameworkError, match="four bits need a wheel") as caught:
                testing.plan(["quantization=nf4"], run_dir=tmp_path / "run")
        finally:
            current().plugins.manager.unregister(plugin)
        assert ("needs bitsandbytes" in str(caught.value)) is not missing


TRAINER = """
from dataclasses import dataclass
from framework import Component, hookimpl
from framework.api.schema import TrainerConfig

@dataclass
class FastConfig(TrainerConfig):
    "Fast."

@hookimpl
def framework_components():
    yield Component("fast", FastConfig, "fast:Fast", extra=EXTRA)
"""


@pytest.mark.parametrize(
    ("extra", "code", "text"),
    [
        ("acme-fast>=1", 2, "trainer=fast needs acme-fast: pip install 'acme-fast>=1'"),
        ("torch<1", 2, "'fast' cannot be loaded from fast:Fast"),  # a version that its own check may admit
    ],
)
def test_a_trainer_without_its_library_is_refused_before_any_stage(
    tmp_path: Path, extra: str, code: int, text: str
) -> None:
    (tmp_path / "fast.py").write_text(TRAINER.replace("EXTRA", repr(extra)), encoding="utf-8")
    done = project(tmp_path).run("plugins=[./fast.py]", "trainer=fast", "run_dir=run", "stages=[data]")
    assert (done.code, text in done.err) == (code, True), done.err
    assert not (tmp_path / "run").exists() or extra.startswith("torch")


def test_the_program_ends_with_exit_code_2_and_one_line(without: set[str], tmp_path: Path) -> None:
    without.add("lm-eval")
    done = project(tmp_path).run("evaluator=[lm_eval]", "stages=[plan]")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.endswith(f"evaluator=lm_eval needs lm-eval: pip install -e {shlex.quote(f'{ROOT}[evals]')}")


@pytest.mark.parametrize("words", [[], ["+experiment=quickstart"]])
def test_the_quickstart_needs_nothing_but_its_own_extra(tmp_path: Path, words: list[str], without: set[str]) -> None:
    without |= {"lm-eval", "sacrebleu", "rouge-score", "httpx", "jsonschema", "zstandard", "wandb", "optuna"}
    testing.plan(words, run_dir=tmp_path / "run")
