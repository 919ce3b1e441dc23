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


@pytest.mark.parametrize("file", trl_templates().values(), ids=lambda file: file.stem)
def test_labels_and_settings_are_right_and_each_refusal_has_a_reason(file: Path) -> None:
    for name, outcome in survey(file.read_text("utf-8")).items():
        assert not outcome.wrong, (name, outcome)
        assert not outcome.unlisted, (name, outcome)


def test_the_page_has_a_row_for_each_template_of_a_preset() -> None:
    page = (Path(__file__).parents[4] / "docs" / "reference" / "chat-templates.md").read_text("utf-8")
    surveyed = {
        name for line in re.findall(r"^- (\S+(?:, \S+)*): [y`*]", page, re.MULTILINE) for name in line.split(", ")
    }
    assert len(surveyed) == 99
    assert [name for names in FAMILIES.values() for name in names if name not in surveyed] == []


def test_the_survey_finds_the_reasons() -> None:
    def kinds(template: str) -> dict[str, str]:
        return {name: outcome.kind for name, outcome in survey(template).items()}

    plain = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    opening = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    assert kinds(plain + opening)["one answer"] == ""
    assert kinds(plain + opening)["thoughts"] == ""
    assert kinds(plain + opening)["a tool"] == "drops"
    assert kinds(plain + opening.replace("assistant\n", "assistant\n<think>\n"))["one answer"] == "no row"
    script = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert kinds(script + "{% if add_generation_prompt %}assistant:{% endif %}")["one answer"] == "no stop"
    assert kinds("{% for t in tools %}{% endfor %}" + plain + opening)["one answer"] == "tools"
    assert kinds("{{ raise_exception('no') }}")["one answer"] == "raises"
    parts = plain.replace("{{ m.content }}", "{% for p in m.content %}{{ p.text }}{% endfor %}")
    assert kinds(parts + opening)["one answer"] == "vision"
