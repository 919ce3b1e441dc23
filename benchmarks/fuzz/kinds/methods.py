"""Methods with rows, settings and rewards that fit them or do not, and evaluations that are compared."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import Case, Expect, words
from benchmarks.fuzz.edits import Edit
from benchmarks.fuzz.kinds.pieces import JSON

WHY = "rows, settings and rewards are drawn, and some fit"
TALK = [{"role": "user", "content": "Which number follows 3?"}]


def _said(text: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


PAIR = {"prompt": "Which number follows 3?", "chosen": "4", "rejected": "5"}
ROWS: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        PAIR,
        {"prompt": TALK, "chosen": _said("4"), "rejected": _said("5")},
        {"chosen": TALK + _said("4"), "rejected": TALK + _said("5")},
        {"instruction": "Say A.", "output": ["A", "B"]},
        {"instruction": "Say A.", "answers": [{"answer": "A", "rank": 1}, {"answer": "B", "rank": 2}]},
        {"prompt": "Say A.", "completion": "A", "label": True},
        {"prompt": "Say A.", "completion": "B", "label": False},
        {"prompt": "Say A.", "completion": "B", "label": "bad"},
        {"prompt": "Say A.", "response_0": "A", "response_1": "B", "safer_response_id": 0},
        {"input": {"messages": TALK}, "preferred_output": _said("4"), "non_preferred_output": _said("5")},
        {"question": "Say A.", "chosen": "A", "rejected": "B", "system": ""},
        {"prompt": "Say A."},
        {"prompt": TALK},
        {"text": "A text that is long enough to be a document of its own."},
        {"instruction": "Say A.", "output": "A"},
    ]
)
ODD = JSON | st.sampled_from([[], {}, "", TALK, _said(None), _said(""), [{"role": "user"}], 1e308, float("nan")])


@st.composite
def _row(draw: DrawFn) -> dict[str, Any]:
    row = dict(draw(ROWS))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        key = draw(st.sampled_from(["label", "rank", "prompt", "chosen", "rejected", *row]))
        if draw(st.booleans()):
            row.pop(key, None)
        else:
            row[key] = draw(ODD)
    return row


METHODS = ("sft", "pretrain", "dpo", "kto", "orpo", "simpo", "cpo", "grpo", "best_of_n")
REWARDS = (
    "[]", "[exact_match]", "[length]", "[token_f1,length]", "[mine]", "[json_valid]", "[both_words]", "[think_format]",
    "exact_match", "[no_such]", "[exact_match,exact_match]", "null",
)  # fmt: skip
MARGIN = ("beta", "label_smoothing", "alpha", "loss_type")
DRAWS = ("num_generations", "max_completion_length", "temperature", "top_p")
SETTINGS = {
    "dpo": (*MARGIN, "loss_weights", "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef", "discopop_tau"),
    "kto": ("beta", "loss_type", "desirable_weight", "undesirable_weight"),
    "simpo": (*MARGIN, "simpo_gamma"),
    "cpo": (*MARGIN, "cpo_alpha"),
    "grpo": (*DRAWS, "beta", "loss_type", "epsilon", "epsilon_high", "scale_rewards", "steps_per_generation"),
    "best_of_n": (*DRAWS, "control"),
}
"""Each method's own; those of another one are refused by name."""
VALUES = (
    "0",
    "1",
    "2",
    "-1",
    "0.5",
    "1e9",
    "nan",
    "null",
    "[]",
    "[ipo,sft]",
    "[1,0]",
    "sequence",
    "none",
    "true",
    "''",
)


@st.composite
def _trainings(draw: DrawFn) -> Case:
    method = draw(st.sampled_from(METHODS))
    line = [f"method={method}", draw(st.sampled_from(["stages=[plan]", "stages=[data]", "stages=[data,train]"]))]
    line += ["trainer.max_steps=1", "trainer.per_device_train_batch_size=2", "trainer.max_seq_length=64"]
    if method in {"grpo", "best_of_n"}:
        line += [f"reward={draw(st.sampled_from(REWARDS))}", "method.num_generations=2"]
        line += ["method.max_completion_length=3"]
    for name in draw(st.lists(st.sampled_from(SETTINGS.get(method, MARGIN)), max_size=2)):
        line.append(f"method.{name}={draw(st.sampled_from(VALUES))}")
    rows = draw(st.lists(_row(), min_size=1, max_size=8))
    if draw(st.booleans()):  # rows of one kind, of which a method can use some
        rows = [{**rows[0], "nr": number} for number in range(12)]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")
    edit = Edit("put", "r.jsonl", (text,))
    return Case("methods", method, words(*line, data="r.jsonl"), Expect.ANY, why=WHY, edits=(edit,))


OPTIONS = (
    "--json", "--common", "--all-pairs", "--metric=acc", "--metric=no_such", "--margin=-1", "--margin=nan",
    "--confidence=1", "--confidence=0.5", "--cluster=id", "--cluster=none", "--fail-on=worse",
    "--higher-is-better=match",
    "--lower-is-better=score", "--html=page.html", "--html=.", "--html=a.jsonl", "--html=a.json", "c.jsonl",
    "a.jsonl", ".",
)  # fmt: skip
OF_HARNESS = {"doc": {"question": "Say A."}, "target": "A", "filter": "none", "metrics": ["acc"], "acc": 1.0}
ITEM: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"scores": {"acc": 1, "f1": 0.5}},
        {"scores": {"acc": 0.25}, "prompt": "Say A.", "cluster": "one"},
        {"scores": {"judge": -3}, "prompt": "Say A."},
        {"scores": {"acc": None, "f1": True}},
        OF_HARNESS,
        {**OF_HARNESS, "metrics": ["acc", "f1"], "f1": 0.5},
    ]
)


LARGE = st.sampled_from(
    [1e308, -1e308, 10**400, float("inf"), float("-inf"), "\ud800", "\x1b[31mred", 1e100, 1e-320, [1], {}]
)
GRADES = st.sampled_from(["C", "I", "P", 1, 0, 0.5, True, None, "x", "1e999", "nan", [1], {"a": 1}]) | LARGE | ODD
LOG: dict[str, Any] = {"version": 2, "status": "success", "eval": {"task": "sums", "task_version": 0}}


@st.composite
def _inspect(draw: DrawFn) -> Case:
    """Draw logs of inspect as JSON, of which most is right."""
    edits = []
    for name in ("a.json", "b.json"):
        count = draw(st.sampled_from([6, 6, 6, 0, 1]))
        samples: list[Any] = [
            {"id": n, "epoch": 1, "input": f"What is {n * 7919}?", "target": "x", "scores": {"match": {"value": n % 2}}}
            for n in range(count)
        ]
        for _ in range(draw(st.integers(0, 2)) if samples else 0):
            place = draw(st.integers(0, count - 1))
            if not isinstance(samples[place], dict) or draw(st.integers(0, 3)) == 0:
                samples[place] = draw(ODD)
            else:
                key = draw(st.sampled_from(["id", "epoch", "input", "target", "scores", "metadata", "choices"]))
                samples[place] = {**samples[place], key: draw(ODD | LARGE)}
        if samples and isinstance(samples[0], dict):
            samples[0] = {**samples[0], "scores": {"match": {"value": draw(GRADES)}}}
        log = {**LOG, "samples": samples}
        if draw(st.integers(0, 3)) == 0:
            log[draw(st.sampled_from(["version", "status", "eval", "samples", "results", "error"]))] = draw(
                st.sampled_from(["error", "cancelled", "started", 1, None, {"message": "x"}]) | ODD
            )
        edits.append(Edit("put", name, (json.dumps(log).encode("utf-8", "surrogatepass"),)))
    options = draw(st.lists(st.sampled_from(OPTIONS), max_size=2))
    line = ("compare", "a.json", "b.json", *options)
    return Case("evaluations", "logs of inspect", line, Expect.ANY, "none", why=WHY, edits=tuple(edits), codes=(3,))


@st.composite
def _evaluations(draw: DrawFn) -> Case:
    edits, first = [], draw(ITEM)
    for name in ("a.jsonl", "b.jsonl"):
        kind = dict(first if draw(st.integers(0, 3)) else draw(ITEM))
        key = "doc_id" if "doc" in kind else "id"
        items = [kind | {key: number} for number in range(draw(st.sampled_from([6, 6, 6, 0, 1, 12])))]
        for item in items:
            score = {"acc": draw(st.sampled_from([0, 1, 1, 0.5, True]))}
            item.update({"scores": {**item["scores"], **score}} if "scores" in item else score)
        if items and draw(st.integers(0, 3)) == 0:
            odd, key = draw(st.sampled_from(items)), draw(st.sampled_from(["acc", "\x1b[31macc", "\ud800"]))
            odd.update({"scores": {key: draw(LARGE)}} if "scores" in odd else {key: draw(LARGE)})
        if items and draw(st.integers(0, 3)) == 0:
            draw(st.sampled_from(items))[draw(st.sampled_from(["id", *kind]))] = draw(ODD)
        text = "".join(json.dumps(item) + "\n" for item in items).encode("utf-8", "surrogatepass")
        edits.append(Edit("put", name, (draw(st.sampled_from([text] * 9 + [text[: len(text) // 2]])),)))
    options = draw(st.lists(st.sampled_from(OPTIONS), max_size=2))
    return Case(
        "evaluations", "drawn items", ("compare", "a.jsonl", "b.jsonl", *options), Expect.ANY, "none", why=WHY,
        edits=tuple(edits), codes=(3,),
    )  # fmt: skip


KINDS: dict[str, SearchStrategy[Case]] = {"methods": _trainings(), "evaluations": _evaluations() | _inspect()}
