"""tests/support/template_survey.py over the chat templates of TRL, with a small tokenizer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tokenizers import AddedToken

from benchmarks.templates import FAMILIES
from tests.support.families import make_tokenizer, trl_templates
from tests.support.template_survey import Outcome, outcomes, tokenizer_for


def survey(template: str) -> dict[str, Outcome]:
    tokenizer = make_tokenizer("chatml")
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False)])
    return outcomes(*tokenizer_for(tokenizer, template))


QUICK = (
    "cohere2_training", "deepseekv3", "gemma3", "gemma4", "glm4moe_training", "gptoss", "lfm2_2_5", "llama3_2",
    "llava_next", "nemotron_3_nano", "phi3_5", "qwen2_5", "qwen3", "qwen3_6_training",
)  # fmt: skip
"""One of each family, some as TRL writes them for training."""
MARKED = [
    pytest.param(file, id=file.stem, marks=[] if file.stem in QUICK else pytest.mark.slow)
    for file in trl_templates().values()
]


@pytest.mark.parametrize("file", MARKED)
def test_labels_and_settings_are_right_and_each_refusal_has_a_reason(file: Path) -> None:
    for name, outcome in survey(file.read_text("utf-8")).items():
        assert not outcome.wrong, (name, outcome)
        assert not outcome.unlisted, (name, outcome)


def test_the_page_has_a_row_for_each_template_of_a_preset() -> None:
    page = (Path(__file__).parents[4] / "docs" / "reference" / "chat-templates.md").read_text("utf-8")
    lines = re.findall(r"^- (\S+(?:, \S+)*): .* [\d,-]+$", page, re.MULTILINE)
    surveyed = {name for line in lines for name in line.split(", ")}
    assert len(surveyed) == 99
    assert [name for names in FAMILIES.values() for name in names if name not in surveyed] == []
