"""A chat template that does not end or takes all memory is refused in seconds, and a good one is tried once."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.util.errors import FrameworkError
from framework_plugins.hf.tokens import template_limits
from framework_plugins.hf.tokens.template_limits import check_template
from tests.support.families import make_tokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "templates"


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "does not end within 1 s"),
        ("{{ 'a' * 10**10 }}", "takes more than 512 MiB for a short conversation"),
        ("{{ nothing.content }}{{ '%999999999d' % 1 }}", "takes more than 512 MiB for a short conversation"),
    ],
)
def test_a_template_that_harms_is_refused_before_it_runs_here(
    bomb: str, message: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_limits, "CPU_SECONDS", 1)
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = bomb + str(tokenizer.chat_template)
    with pytest.raises(FrameworkError, match=f"^model m: the chat template {message}"):
        check_template(tokenizer, {}, "model m")
    assert not cache.exists()


@pytest.mark.parametrize("family", ["chatml", "llama3", "gemma"])
def test_the_templates_of_known_families_are_accepted(family: str, cache: Path) -> None:
    check_template(make_tokenizer(family), {}, "model m")
    assert len(list(cache.iterdir())) == 1


def test_an_accepted_template_is_not_run_again_and_other_switches_are(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, runs = make_tokenizer("qwen3"), list[object]()

    def note(_: object, settings: object) -> str:
        runs.append(settings)
        return ""

    monkeypatch.setattr(template_limits, "_problem", note)
    for settings in ({}, {}, {"enable_thinking": False}, {"enable_thinking": False}):
        check_template(tokenizer, settings, "model m")
    assert runs == [{}, {"enable_thinking": False}]
    assert len(list(cache.iterdir())) == 2
