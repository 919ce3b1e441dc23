"""The page of a sweep."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from framework.api.records import Point, Ranking, Standing, Sweep, Trial
from framework_plugins.report.plugin import framework_sweep_finished
from framework_plugins.report.sweep import render
from tests.plugins.report.test_html import assert_policy
from tests.support.forked_program import echo


def trial(number: int, value: float | None, *words: str, state: str = "finished", reason: str = "") -> Trial:
    return Trial(number, list(words), state, reason, value, 12.5, 10.0, 2**31, 0.5, "gained: <b>much</b>")


POINTS = [
    trial(0, 0.75, "adapter.r=8", "trainer.learning_rate=1e-05"),
    trial(1, 0.5, "adapter.r=8", "trainer.learning_rate=0.001"),
    trial(2, 0.75, "adapter.r=16", "trainer.learning_rate=1e-05"),
    trial(3, 0.5, "adapter.r=16", "trainer.learning_rate=0.001"),
    trial(4, None, "adapter.r=32", state="failed", reason="ValueError: <script>boom</script>"),
]
SWEEP = Sweep("out/sweep", "eval_loss", higher_is_better=False, best=1, trials=POINTS)
HERE = Path("out/sweep")
SECRET = "open-sesame-42"  # noqa: S105 - planted


def drawings(page: str) -> list[ET.Element]:
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]  # noqa: S314 - our own page


def test_the_page_shows_each_point_and_how_it_ended() -> None:
    page = render(SWEEP, HERE)
    assert "4 finished, 1 failed" in page
    assert "Best: trial 1, eval_loss 0.5000" in page
    assert "ValueError: &lt;script&gt;boom&lt;/script&gt;" in page
    rows = re.findall(r"<tr><th scope=\"row\".*?</tr>", page, re.DOTALL)
    assert len(rows) == len(POINTS)
    assert "12.5 s" in rows[0]
    assert "2.00 GiB" in rows[0]
    assert "0.50" in rows[0]


RANKED = replace(
    SWEEP,
    ranking=Ranking(
        "eval_loss", "", higher_is_better=False, item="row", items=30, clusters=0, confidence=0.95,
        points=[
            Point([0, 2], 0.75, 0.7, 0.8, Standing.worse, 0.1, 0.4, 0.01), Point([1, 3], 0.5, 0.4, 0.6, Standing.best)
        ],
        leader=1, clear=True, lead_low=0.1, lead_high=0.4, spread=0.01, freedom=2,
    ),
)  # fmt: skip


def test_it_says_what_differs_and_shows_a_dot_for_each_point_with_its_interval_and_seeds() -> None:
    page = render(RANKED, HERE)
    assert "<dt>winner</dt><dd>trials 1 and 3: eval_loss of 30 rows is better than for any other trial" in page
    assert page.count("gained: &lt;b&gt;much") == 1
    dots = [each for each in drawings(page) if each.find("circle") is not None]
    assert [dot.get("aria-label") for dot in dots] == ["trials 0, 2: 0.7500", "trials 1, 3: 0.5000", "trial 4"][:2]
    assert [len(dot.findall("circle[@class='seed']")) for dot in dots] == [2, 2]
    assert [line.get("class") for dot in dots for line in dot.findall("line")] == ["range worse", "range best"]


def test_two_settings_with_few_values_are_a_heat_map_instead_of_parallel_coordinates() -> None:
    points = [
        Point([number], value, None, None, Standing.best if number == 1 else Standing.worse)
        for number, value in enumerate((0.75, 0.5, 0.75, 0.6))
    ]
    assert RANKED.ranking is not None
    page = render(replace(RANKED, ranking=replace(RANKED.ranking, points=points)), HERE)
    cells = re.findall(r'<td class="shade-(\d) ?(\w*)\s*">(.*?)</td>', page)
    assert cells == [("1", "", "0.7500"), ("5", "best", "0.5000"), ("1", "", "0.7500"), ("3", "", "0.6000")]
    assert "Parallel coordinates" not in page


def test_the_curves_of_the_trials_lie_over_each_other(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        step = {"total_steps": 4, "epoch": 1, "learning_rate": 1, "grad_norm": 1, "tokens": 1, "seconds": 1}
        lines = [
            json.dumps({"event": "step", "step": at, "loss": 2.0, "eval_loss": 2.0 - number * at / 10, **step})
            for at in range(1, 5)
        ]
        (tmp_path / str(number) / "log.jsonl").write_text("\n".join(lines), encoding="utf-8")
    page = render(SWEEP, tmp_path)
    (curves,) = [each for each in drawings(page) if each.get("class") == "curve"]
    lines_ = [(each.get("class"), each.findtext("title")) for each in curves.findall("polyline")]
    assert lines_ == [
        ("trial", "trial 0: r=8, learning_rate=1e-05"), ("trial best", "trial 1: r=8, learning_rate=0.001")
    ]  # fmt: skip


def test_the_plots_have_a_line_for_each_point_with_a_value_and_a_bar_for_each_setting() -> None:
    page = render(SWEEP, HERE)
    (plot,) = [each for each in drawings(page) if each.find("polyline") is not None]
    lines = [each for each in plot if each.tag == "polyline"]
    assert len(lines) == 4
    assert [line.get("class") for line in lines] == ["trial", "trial", "trial", "trial best"]
    assert (lines[-1].findtext("title") or "").startswith("trial 1: ")
    assert [each.text for each in plot if each.get("class") == "name"] == ["r", "learning_rate", "eval_loss"]
    assert re.findall(r'<p class="small">(.*)</p>', page) == ["trainer.learning_rate: 100%", "adapter.r: 0%"]
    assert re.findall(r'<progress class="share" max="100" value="(.*)">', page) == ["100.0", "0.0"]


def test_long_numbers_are_short_in_the_table_and_long_words_in_the_plot_end_as_they_do() -> None:
    words = [
        (f"trainer.learning_rate={rate}", f"data.path=/home/{'x' * 60}/{rate}.jsonl") for rate in (0.00012345678, 2e-5)
    ]
    page = render(
        Sweep(
            "x",
            "eval_loss",
            higher_is_better=False,
            best=0,
            trials=[trial(0, 1.0, *words[0]), trial(1, 2.0, *words[1])],
        ),
        HERE,
    )
    assert ">0.0001235</td>" in page
    assert ">2e-05</td>" in page
    (plot,) = [each for each in drawings(page) if each.find("polyline") is not None]
    assert any((each.text or "").startswith("…") and (each.text or "").endswith("2e-05.jsonl") for each in plot)


def test_nothing_is_loaded_and_no_script_runs() -> None:
    page = render(SWEEP, HERE)
    assert not re.search(r"<script|<link|@import|url\(|\bsrc=|https?://", page)
    assert_policy(page)


@pytest.mark.parametrize("trials", [POINTS[4:], POINTS[:1]], ids=["none has a value", "one has"])
def test_without_two_values_there_is_no_plot(trials: list[Trial]) -> None:
    assert "<svg" not in render(Sweep("x", None, higher_is_better=False, best=None, trials=trials), HERE)


def test_the_page_of_a_point_is_linked_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "report.html").touch()
    framework_sweep_finished(tmp_path, Sweep(str(tmp_path), "eval_loss", higher_is_better=False, best=1, trials=POINTS))
    page = (tmp_path / "sweep.html").read_text(encoding="utf-8")
    assert re.findall(r'href="(.*?)"', page) == ["0/report.html"]
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["sweep.html"]


def test_no_secret_of_a_swept_setting_is_in_any_byte_of_the_page(tmp_path: Path, data_file: Path) -> None:
    swept = [f"name={SECRET},other", "metric.judge.request={api_key: only-here},{api_key: or-here}"]
    judge = ["metric=[exact_match,judge]", "metric.judge.base_url=http://127.0.0.1:9/v1", "metric.judge.model=tiny"]
    words = ["data=local_file", f"data.path={data_file}", "trainer.max_steps=2", "logger=[]", "exporter=[]"]
    more = [*words, *judge, "evaluator=[]", "objective=train_loss", f"hydra.sweep.dir={SECRET}"]
    done = echo("-m", *more, *swept, cwd=tmp_path, env={"ACME_TOKEN": SECRET})
    assert done.code == 0, done.err
    page = (tmp_path / SECRET / "sweep.html").read_bytes()
    assert page.count(b"<polyline") == 4
    assert b"(hidden)" in page
    for planted in (SECRET, "only-here", "or-here"):
        assert planted.encode() not in page
