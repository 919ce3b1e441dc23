"""Methods with rows, settings and rewards that fit them or do not, and evaluations that are compared."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.benchmarks.fuzz.case import Case, Expect, words
from tests.benchmarks.fuzz.edits import Edit
from tests.benchmarks.fuzz.kinds.pieces import JSON

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
            draw(st.sampled_from(items))[draw(st.sampled_from(["id", *kind]))] = draw(ODD)
        text = "".join(json.dumps(item) + "\n" for item in items).encode("utf-8", "surrogatepass")
        edits.append(Edit("put", name, (draw(st.sampled_from([text] * 9 + [text[: len(text) // 2]])),)))
    options = draw(
        st.lists(
            st.sampled_from(
                ["--json", "--common", "--all-pairs", "--metric=acc", "--metric=no_such", "--margin=-1", "--margin=nan",
                 "--confidence=1", "--confidence=0.5", "--cluster=id", "--cluster=none", "--fail-on=worse",
                 "--lower-is-better=score", "--html=page.html", "--html=.", "c.jsonl", "a.jsonl", "."]
            ), max_size=2,
        )
    )  # fmt: skip
    return Case(
        "evaluations", "drawn items", ("compare", "a.jsonl", "b.jsonl", *options), Expect.ANY, "none", why=WHY,
        edits=tuple(edits), codes=(3,),
    )  # fmt: skip


KINDS: dict[str, SearchStrategy[Case]] = {"methods": _trainings(), "evaluations": _evaluations()}
