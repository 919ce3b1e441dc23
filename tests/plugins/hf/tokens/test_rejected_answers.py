"""Both answers of a preference pair are proven: a template that breaks only the rejected one is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.data.stage import load_data
from framework_plugins.hf.backend import HFBackend
from tests.support.pairs import pairs
from tests.support.tiny import tiny_llama
from tests.support.training import make

WHOLE = "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>"
OPEN = "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>{% endif %}"
TEMPLATES = {
    "drops what a refusal says": "{{ message.content if 'sorry' not in message.content else '' }}<|eot_id|>",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_that_breaks_only_the_rejected_answer_is_found(template: str, tmp_path: Path) -> None:
    row = {"prompt": "Which number follows 2?", "chosen": "It is 3.", "rejected": "It is 4."}
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(row)}\n{json.dumps({**row, 'rejected': 'I am sorry.'})}\n", encoding="utf-8")
    base = tiny_llama(tmp_path / "model")
    (base / "chat_template.jinja").write_text(f"{WHOLE}{template}{{% endfor %}}{OPEN}", encoding="utf-8")
    words = ("data.validation_split=0", "audit=[]")
    with pairs():
        plan = make(base, file, tmp_path / "run", "method=pairs", *words)
        with HFBackend(plan.trainer.config).open(plan) as model, pytest.raises(FrameworkError) as caught:
            load_data(plan, model)
    assert ":2: the rejected turns: " in str(caught.value)
    assert "the loss mask of 1 of 2 rows is not proven" in str(caught.value)
    # Supervised training leaves the rejected answers out, so there is nothing to prove.
    plan = make(base, file, tmp_path / "run", *words)
    with HFBackend(plan.trainer.config).open(plan) as model:
        assert load_data(plan, model).result.proof.failed == 0
