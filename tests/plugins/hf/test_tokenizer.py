"""hf/tokenizer.py: the chat template is the tokenizer's or that of a file, and there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.util.errors import FrameworkError
from framework_plugins.hf.tokenizer import set_template
from tests.support.families import make_tokenizer


def test_a_tokenizer_without_a_template_says_how_to_give_one(tmp_path: Path) -> None:
    tokenizer = make_tokenizer("llama3")
    template = tokenizer.chat_template
    tokenizer.chat_template = None
    with pytest.raises(FrameworkError, match=r"model\.chat_template=FILE"):
        set_template(tokenizer, None)
    file = tmp_path / "own.jinja"
    file.write_text(str(template), encoding="utf-8")
    set_template(tokenizer, str(file))
    assert tokenizer.chat_template == template
    with pytest.raises(FrameworkError, match=r"missing\.jinja: No such file"):
        set_template(tokenizer, str(tmp_path / "missing.jinja"))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FrameworkError, match=r"own\.jinja: no UTF-8 text"):
        set_template(tokenizer, str(file))
