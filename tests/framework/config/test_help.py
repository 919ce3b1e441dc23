"""The help is Hydra's own, only sooner."""

import sys
from pathlib import Path

import pytest

from framework.config.help import help_text
from framework.hooks.session import current
from tests.support.forked_program import execute

HYDRAS = """
import hydra
from framework.config import compose
compose.register(current())
hydra.main(version_base="1.3", config_path=str(compose.conf_dir()), config_name="config")(lambda config: None)()
"""
OURS = """
import sys
from framework.config.help import help_text
words = [word for word in sys.argv[1:] if not word.startswith("-")]
print(help_text(words, resolve="--resolve" in sys.argv))
"""


@pytest.mark.parametrize("resolve", [[], ["--resolve"]], ids=" ".join)
@pytest.mark.parametrize("words", [[], ["+experiment=llama8b_qlora", "seed=${trainer.max_seq_length}"]], ids=" ".join)
def test_the_text_is_that_of_hydra(tmp_path: Path, words: list[str], resolve: list[str]) -> None:
    (tmp_path / "conf/mine/below").mkdir(parents=True)
    (tmp_path / "conf/mine/below/one.yaml").write_text("seed: 1\n", encoding="utf-8")
    theirs = execute((sys.executable, "-c", HYDRAS), *words, "--help", *resolve, cwd=tmp_path)
    ours = execute((sys.executable, "-c", OURS), *words, *resolve, cwd=tmp_path)
    assert (theirs.code, theirs.err) == (ours.code, ours.err) == (0, "")
    assert ours.out == theirs.out
    assert "mine/below: one" in ours.out


def test_the_help_names_the_options_and_the_values_that_a_run_has() -> None:
    text = help_text(["+experiment=quickstart"])
    assert "adapter: dora, full, lora, rslora" in text
    assert "learning_rate: 0.0005" in text
    assert "hydra:" not in text
    assert "plugins" in current().plugins.commands()
    assert "plugins [GROUP [OPTION]]" in text
