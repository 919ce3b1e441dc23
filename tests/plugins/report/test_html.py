"""The page of a run: what is on it, and that nothing of it comes from or runs anywhere."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import signal
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api import records
from framework.api.events import IssueFound, RunFailed, RunFinished, RunStarted, TrainingStep
from framework.api.records import Artifact, DataResult, Report, Table
from framework.api.text.results import visible
from framework.hooks.session import current
from framework.run import pipeline
from framework.run.report import make_report
from framework.util.errors import Interrupted, PrunedError
from framework_plugins.report.config import HtmlConfig
from framework_plugins.report.html import SECONDS_BETWEEN_PAGES, Html
from framework_plugins.report.page import Run, render
from tests.plugins.report.test_charts import steps
from tests.support.results import AILING, AMISS, CLIMBED, EVEN, SCRIPT, SPIKE

VOID = {"meta", "br", "line", "polyline", "rect", "circle"}
Rows = list[dict[str, str]]


class Page(HTMLParser):
    """The page taken apart: texts by the tags and classes that they are in, and all attributes."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.source = file.read_text(encoding="utf-8")
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[list[str], str]] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        path = [name for tag, attrs in self.open for name in (tag, f"#{attrs.get('id')}", *_classes(attrs))]
        self.texts.append((path, data))

    def within(self, *names: str) -> list[str]:
        """Return the texts in elements with all these tags, #ids or .classes."""
        return [text for path, text in self.texts if set(names) <= set(path) and text.strip()]


def _classes(attrs: dict[str, str | None]) -> list[str]:
    return [f".{name}" for name in (attrs.get("class") or "").split()]


@pytest.fixture
def made(rows: Rows, write_rows: Callable[[Rows], Path], tmp_path: Path) -> Callable[..., Page]:
    """Return a function that runs with the page and reads it."""

    def run(*words: str, rows: Rows = rows, prompts: int = 7) -> Page:
        train, asked = write_rows(rows), write_rows(rows[:prompts])
        files = [f"data.path={train}", f"data.validation_path={asked}", f"data.prompts_path={asked}"]
        pipeline.run(testing.plan(["data=local_file", *files, "logger=[html]", *words], run_dir=tmp_path / "run"))
        return Page(tmp_path / "run" / "report.html")

    return run


def sections(page: Page) -> list[str | None]:
    return [attrs["id"] for tag, attrs in page.tags if tag == "section"]


def test_what_could_not_be_measured_is_on_the_page_once(made: Callable[..., Page]) -> None:
    page = made("evaluator.prompts.prompts=['<b>Hello</b>']")
    needs = "needs references, but none of the prompts has one"
    assert page.within("#results", ".amiss") == [f"metric '{name}' {needs}" for name in ("exact_match", "token_f1")]
    assert page.within("#answers", ".after") == ["<b>Hello</b>"]


def test_tables_of_an_evaluation_are_on_the_page_and_points_beside_the_diagonal(tmp_path: Path) -> None:
    plan = testing.plan(["data=local_file", "data.path=rows.jsonl"], run_dir=tmp_path / "run")
    run = Run(plan, EVEN, {})
    shown = Table("Reliability", ["sure", "right"], [[0.25, 0.5, 0.4, 1.0, "7"], ["<b>", None]], "a note", drawn=True)
    run.tables = [shown]
    (tmp_path / "page.html").write_text(render(run, 5), encoding="utf-8")
    page = Page(tmp_path / "page.html")
    assert page.within(".table", "td") == ["25%", "50%", "40%", "100%", "7", "<b>", "-"]
    assert page.within(".table", "title") == ["25%: 50%, 40% to 100%"]
    (dot,) = [attrs for tag, attrs in page.tags if tag == "circle"]
    assert (dot["cx"], dot["cy"]) == ("60.0", "120.0")
    assert "a note" in page.within(".table", ".small")


def test_a_whole_run_is_on_the_page(made: Callable[..., Page], tmp_path: Path) -> None:
    page = made("name=mine", "audit=[]")  # the prompts are training rows
    report = records.load(Report, tmp_path / "run" / "report.json")
    assert sections(page) == ["verdict", "answers", "results", "training", "data", "needs", "run"]
    assert page.within("h1") == ["mine"]
    shown = page.within("#results", "td")
    assert shown[shown.index("0%") :][:6] == [
        "0%",
        "100%",
        "+29 to +100 points",
        "7 compared",
        "always 'it is 0': 14%",
        "better",
    ]
    assert "higher is better, the objective" in page.within("#results", ".label")
    assert page.within("#answers", ".before")[:2] == ["say", " 0"]
    assert page.within("#answers", ".before", "del")[0] == "say"  # the reference is: it is 0
    assert page.within("#verdict", ".headline", ".good") == ["Better: exact_match rose from 0% to 100%."]
    assert "+29 to +100 points at 95% confidence" in page.within("#verdict", "details", ".soft")[0]  # folded
    assert page.within("#answers", ".after")[0] == "it is 0"
    assert len(page.within("#answers", ".after")) == 7
    assert report.train is not None
    assert f"{report.train.steps} steps, 1 epoch in 0.0 s" in page.within("#training", "dd")
    assert "adapter" in page.within("#training", "dt")
    assert report.versions["python"] in page.within("#run", "dd")
    assert "none" in page.within("#run", "dd")
    assert not list((tmp_path / "run").glob("*.part"))


def test_how_far_an_export_agrees_with_the_trained_model_is_on_the_page(
    made: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = [Artifact("gguf", f"gguf/{name}.gguf", 2**20, parity=f"KL 0.0{name}") for name in "12"]
    monkeypatch.setattr("framework_plugins.exports.adapter.AdapterExporter.export", lambda *_: artifacts)
    page = made("exporter=[adapter]")
    names, said = page.within("#training", "dt"), page.within("#training", "dd")
    at = names.index("gguf")
    assert names[at:] == ["gguf", "gguf, compared with the trained model"] * 2
    assert said[at:] == ["gguf/1.gguf (1.0 MiB)", "KL 0.01", "gguf/2.gguf (1.0 MiB)", "KL 0.02"]


def test_the_marked_text_is_what_the_data_teach(made: Callable[..., Page], tmp_path: Path) -> None:
    page = made("stages=[data]")
    data = records.load(DataResult, tmp_path / "run" / "data.json")
    pieces = [piece for row in data.view for piece in row.pieces]
    assert page.within("#rows", "mark") == [visible(piece.text) for piece in pieces if piece.learned]
    assert page.within("#rows", "span") == [visible(piece.text) for piece in pieces if not piece.learned]
    assert len(page.within("#rows", "mark")) == 3
    assert page.within("#rows", "mark")[0] == "it is 0 <stop>"


def test_the_data_alone_make_a_page_without_results(made: Callable[..., Page]) -> None:
    page = made("stages=[data]")
    assert sections(page) == ["data", "needs", "run"]
    status, ready = page.within("header", "p")
    assert "data only" in status
    assert ready == "Fix first: leaked. 2 warnings to look at: too_few_rows, few_prompts."
    assert "20 to train, 7 held out, 7 prompts" in page.within("#data", "dd")
    bars = [attrs for tag, attrs in page.tags if tag == "rect"]
    assert len(bars) == len(page.within("#lengths", "title")) == 1  # all rows are equally long
    assert page.within("#lengths", "title")[-1] == "7 to 7 tokens: 20 rows"


def test_a_part_of_the_stages_is_named(made: Callable[..., Page]) -> None:
    assert "stages data, train" in made("stages=[data,train]").within("header", "p")[0]


def test_a_report_that_is_made_later_has_no_curve_without_a_log(made: Callable[..., Page]) -> None:
    assert any(tag == "polyline" for tag, _ in made().tags)
    page = made("stages=[evaluate,report]")
    assert sections(page) == ["verdict", "answers", "results", "training", "data", "needs", "run"]
    assert not any(tag == "polyline" for tag, _ in page.tags)


def test_one_more_export_keeps_verdict_and_curves(data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", "logger=[jsonl,html]"]
    for more in ([], ["stages=[export]"]):
        pipeline.run(testing.plan([*words, *more], run_dir=tmp_path))
    page = Page(tmp_path / "report.html")
    assert {"verdict", "training"} <= {*sections(page)}
    assert any(tag == "polyline" for tag, _ in page.tags)


def test_text_of_the_data_is_never_markup(made: Callable[..., Page]) -> None:
    rows = [{"instruction": f"{SCRIPT} & say {n}", "output": f"<b onclick='x'>it's {n}</b>"} for n in range(20)]
    page = made("audit=[]", rows=rows)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "link", "object", "b"}
    assert SCRIPT not in page.source
    assert any(SCRIPT in text for text in page.within("#rows", "span"))
    assert page.within("#answers", ".after")[0] == "<b onclick='x'>it's 0</b>"
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def assert_policy(source: str) -> None:
    """Check that a browser may run and load nothing, and that it knows each style by its hash."""
    policies = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', source)
    assert len(policies) == 1
    assert source.index("Content-Security-Policy") < source.index("<style")
    rules = dict(rule.split(maxsplit=1) for rule in policies[0].split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    styles = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
    assert rules["style-src"].split() == [f"'sha256-{each}'" for each in hashes]
    assert {*rules} == {"default-src", "style-src", "base-uri", "form-action"}
    assert not re.search(r"<[^>]*\sstyle=|<script", source)


def test_nothing_is_loaded_from_elsewhere_and_a_browser_may_run_nothing(made: Callable[..., Page]) -> None:
    page = made()
    assert_policy(page.source)
    assert not re.search(r"https?://|@import|url\(|src=|href=", page.source)
    assert len(page.source) < 200_000


def test_findings_and_facts_that_ask_for_attention_stand_there(tmp_path: Path) -> None:
    page = page_of(tmp_path, AMISS)
    assert page.within("#findings", ".severity") == ["serious", "warning", "note"]
    assert next(text.strip() for text in page.within("#findings", "li")) == f"a.jsonl:12: Name it {SCRIPT}"
    assert any("\\x1b[31mred" in text for text in page.within("#findings", "li"))
    assert "12 rows ask the same and answer differently" in " ".join(page.within("#findings"))
    assert page.within("#data", ".amiss") == [
        "alpaca: 121 rows, sharegpt: 20 rows",
        "25 of owner/general (30 were requested), 10% of the training rows",
        "14 rows left out (data.on_bad_row=skip)",
        "13 of 330 rows not proven (data.proof=warn)",
        "7 rows longer than trainer.max_seq_length=512, 7 of them left out; 1,234 learned tokens are lost; "
        "2 validation rows too long as well",
    ]
    assert "\x1b" not in page.source


def test_an_audit_that_found_nothing_says_so(tmp_path: Path) -> None:
    assert page_of(tmp_path, EVEN).within("#findings") == ["Nothing was found by: standard."]
    assert page_of(tmp_path, EVEN, "audit=[]").within("#findings") == []


def page_of(folder: Path, data: DataResult, *words: str) -> Page:
    logger = Html(HtmlConfig())
    logger.log(RunStarted(testing.plan(["stages=[data]", *words], run_dir=folder), data, {"device": "CPU"}))
    logger.close()
    return Page(folder / "report.html")


def test_what_was_made_smaller_for_want_of_memory_is_reported(tmp_path: Path) -> None:
    plan = testing.plan([], run_dir=tmp_path)
    logger = Html(HtmlConfig())
    logger.log(RunStarted(plan, EVEN, {"device": "CPU"}))
    logger.log(RunFinished(make_report(plan, {}, {}, EVEN, None, CLIMBED, None, None, current().plugins), []))
    page = Page(tmp_path / "report.html")
    assert "ran out of memory" in page.within("#training", "dt")
    assert "; ".join(CLIMBED.oom_fallbacks) in page.within("#training", "dd")


def test_troubles_are_listed_and_marked_in_the_curve(tmp_path: Path) -> None:
    plan = testing.plan([], run_dir=tmp_path)
    logger = Html(HtmlConfig())
    logger.log(RunStarted(plan, EVEN, {"device": "CPU"}))
    for step in steps(2.0, 6.3, 1.0, 1.0, checks={2: 0.5, 4: 0.9}):
        logger.log(TrainingStep(step))
    for issue in AILING.issues:
        logger.log(IssueFound(issue))
    logger.log(RunFinished(make_report(plan, {}, {}, EVEN, None, AILING, None, None, current().plugins), []))
    page = Page(tmp_path / "report.html")
    assert page.within("#health", "dt") == ["ended early", "best", "issues"]
    assert SPIKE.line in page.within("#health", "dd", ".small")
    assert [attrs["x1"] for tag, attrs in page.tags if tag == "line" and attrs["class"] == "mark"] == ["200.0", "400.0"]
    assert SPIKE.line in page.within("svg", "title")
    assert [attrs["class"] for tag, attrs in page.tags if tag == "polyline"] == [
        *("line", "checks check-0"),
        *("line", "line"),  # learning rate, gradient norm
    ]
    assert SCRIPT not in page.source


def test_a_run_that_fails_halfway_says_why(
    made: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "open-sesame")

    def fail(*_: object) -> None:
        raise FrameworkError("no <room> for open-sesame")

    monkeypatch.setattr("framework.testing.echo.EchoModel.save_tokenizer", fail)
    with pytest.raises(FrameworkError):
        made()
    page = Page(tmp_path / "run" / "report.html")
    assert page.within("header", "p", ".failed")[-1] == "ExportError: exporter 'adapter': no <room> for (hidden)"
    assert sections(page)[:2] == ["verdict", "answers"]  # an exporter's error comes after the report
    assert "open-sesame" not in page.source


def test_a_training_can_be_followed_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    logger = Html(HtmlConfig())
    logger.log(RunStarted(testing.plan([], run_dir=tmp_path), EVEN, {}))
    first, second, third = steps(3.0, 2.0, 1.0)
    logger.log(TrainingStep(first))
    assert sections(Page(tmp_path / "report.html")) == ["data", "run"]  # too early for another page
    now += SECONDS_BETWEEN_PAGES
    logger.log(TrainingStep(second))
    page = Page(tmp_path / "report.html")
    assert sections(page) == ["training", "data", "run"]
    assert page.within("title")[0].endswith(f": not finished: step {second.step} of {second.total_steps}")
    logger.log(TrainingStep(third))
    logger.log(RunFailed(Interrupted(signal.SIGINT)))
    assert sections(Page(tmp_path / "report.html")) == ["training", "data", "run"]


def test_a_point_that_its_sweep_gave_up_has_not_failed(tmp_path: Path) -> None:
    logger = Html(HtmlConfig())
    logger.log(RunStarted(testing.plan([], run_dir=tmp_path), EVEN, {}))
    logger.log(RunFailed(PrunedError("step 3 of 9: too far behind")))
    page = Page(tmp_path / "report.html")
    assert page.within("header", "p", ".failed")[-1] == "step 3 of 9: too far behind"
    assert page.within("title")[0].endswith(": pruned by its sweep")


@pytest.mark.parametrize("sweep", ["", "1"])
def test_an_interrupted_run_names_the_command_that_continues_it(tmp_path: Path, sweep: str) -> None:
    logger = Html(HtmlConfig())
    logger.log(RunStarted(dataclasses.replace(testing.plan([], run_dir=tmp_path), sweep=sweep), EVEN, {}))
    logger.log(RunFailed(Interrupted(signal.SIGINT)))
    page = Page(tmp_path / "report.html")
    command = f"python -m framework resume {tmp_path.parent if sweep else tmp_path}"
    assert page.within("header", "p", ".failed")[-1] == f"interrupted by SIGINT. Continue with: {command}"
    assert page.within("title")[0].endswith(": interrupted")


def test_settings_and_words_are_shown_without_secrets(
    made: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "open-sesame")
    page = made("name=open-sesame", "stages=[data]")
    assert "open-sesame" not in page.source
    settings = json.loads(next(text for text in page.within("#run", "pre") if text.startswith("{")))
    assert settings["name"] == "(hidden)"
    assert any(text.startswith("python -m framework model=echo") for text in page.within("#run", "pre"))


def test_what_is_flagged_is_amber_and_what_is_unknown_is_grey(made: Callable[..., Page]) -> None:
    page = made()  # the audit finds that the prompts are training rows
    assert page.within("#verdict", ".neutral")[1] == "gained: cannot tell. all 7 prompts are answered by training rows"
    assert page.within("#verdict", ".flagged")[0].startswith("leaked: 7 of 7 ")
    for colour, name in (("lost", "bad"), ("flagged", "warn"), ("neutral", "soft")):
        assert re.search(rf"\.{colour}\b[^{{}}]*{{ color: var\(--{name}\)", page.source)


def test_as_many_answers_are_shown_as_asked_for_and_the_rest_is_named(made: Callable[..., Page]) -> None:
    page = made("logger.html.samples=6")
    assert len(page.within("#answers", ".after")) == 6
    assert len(page.within("#answers", "details", ".after")) == 3
    assert page.within("#answers", "summary") == ["3 more"]
    assert "1 more are in evaluate.json." in page.within("#answers", "p")
    assert "answers" not in sections(made("logger.html.samples=0"))


def test_lines_that_all_prompts_share_stand_there_once(made: Callable[..., Page]) -> None:
    rows = [{"instruction": "Turn it round", "input": f"word {n}", "output": f"drow {n}"} for n in range(20)]
    page = made(rows=rows)
    prompts = page.within("#answers", ".wide", "pre")
    assert page.within("#answers", ".shared") == ["Turn it round"]
    assert prompts[0] == "word 0"
