"""Six kinds of cases from random pieces: most are wrong, some by chance are not, so each may do either."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import ADAPTER, GOOD, Case, Expect, words
from benchmarks.fuzz.edits import Edit

WHY = "the pieces are random, and some are right by chance"
TEXT = st.text(max_size=20)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXT,
    st.sampled_from(["", "null", "${", "${oc.env:HOME}", "../..", "/etc/passwd", "a" * 500, "\x1b[31m", "[", "{a:1}"]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
KEYS = (
    "model", "quantization", "adapter", "data", "format", "trainer", "launch", "audit", "metric", "evaluator",
    "exporter", "logger", "trainer.learning_rate", "trainer.max_steps", "trainer.max_seq_length",
    "trainer.per_device_train_batch_size", "trainer.packing", "trainer.dtype", "seed", "name", "stages", "objective",
    "adapter.r", "adapter.target_modules", "format.columns", "data.mix", "data.max_rows", "checkpoint",
    "model.chat_template_kwargs", "plan.gpu", "health", "experiment",
)  # fmt: skip


def _case(kind: str, line: tuple[str, ...], *edits: Edit, sound: str = "run") -> Case:
    return Case(kind, "pieces", line, Expect.ANY, sound, why=WHY, edits=edits)


@st.composite
def _overrides(draw: DrawFn) -> Case:
    drawn = []
    for _ in range(draw(st.integers(1, 4))):
        prefix = draw(st.sampled_from(["", "", "", "+", "++", "~"]))
        value = draw(SCALARS)
        shown = value if isinstance(value, str) else json.dumps(value)
        drawn.append(f"{prefix}{draw(st.sampled_from(KEYS))}={shown}".replace("\0", ""))
    return _case("overrides", words("stages=[plan]", *drawn))


PIECES = st.sampled_from(
    [
        "# @package _global_\n", "defaults:\n", "  - mine\n", "  - override /trainer: hf\n", "trainer:\n",
        "  max_steps: 3\n", "a: &a [*a]\n", "b: *a\n", "b: &b {x: 1}\n", "<<: *b\n", "[[[[", "name: x\n",
        "name: !!python/object/apply:os.getcwd []\n", "\t", "---\n", "...\n", "? x\n", "- 1\n", "é\n",
        "  learning_rate: .nan\n", "seed: 0x1F\n", "hydra:\n  job: 1\n", "\ufeff",
    ]
)  # fmt: skip


@st.composite
def _yaml(draw: DrawFn) -> Case:
    content = "".join(draw(st.lists(PIECES | TEXT, max_size=8))).encode("utf-8", "surrogatepass")
    edit = Edit("put", "conf/experiment/mine.yaml", (content + draw(st.binary(max_size=4)),))
    return _case("yaml", ("+experiment=mine", *words("stages=[plan]")), edit)


ROW = st.dictionaries(
    st.sampled_from(["instruction", "input", "output", "messages", "text", "prompt", "completion", "tools"]) | TEXT,
    JSON | st.lists(st.fixed_dictionaries({"role": TEXT | st.sampled_from(["user", "assistant"]), "content": JSON})),
    max_size=4,
)


@st.composite
def _rows(draw: DrawFn) -> Case:
    lines = draw(st.lists(ROW, min_size=1, max_size=6))
    name = "r" + draw(st.sampled_from([".jsonl", ".json", ".csv", ".txt", ".parquet", ".arrow", ".jsonl.gz"]))
    content = "".join(json.dumps(line) + "\n" for line in lines).encode("utf-8", "surrogatepass")
    content = draw(st.sampled_from([content, content[: len(content) // 2], content + draw(st.binary(max_size=20))]))
    return _case("rows", words("stages=[data]", data=name), Edit("put", name, (content,)))


PARTS = st.sampled_from(
    [
        "{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] }}", "{% if tools %}",
        "{% endif %}", "{% for i in range(99999) %}", "{{ 'a' * 10**9 }}", "{{ '%999999999d' % 1 }}", "{{ 9**9**9 }}",
        "{% macro f() %}{{ f() }}", "{% endmacro %}{{ f() }}", "{{ raise_exception('no') }}",
        "{{ messages[9].content }}", "{{ ''.__class__ }}", "<|im_end|>", "{% set x = messages %}", "{{ x | tojson }}",
        "{% generation %}", "{% endgeneration %}", "{{ bos_token }}", "{{",
    ]
)  # fmt: skip


@st.composite
def _templates(draw: DrawFn) -> Case:
    own = "".join(draw(st.lists(PARTS | TEXT, max_size=8))).encode("utf-8", "surrogatepass")
    line = words("stages=[data]", "model.chat_template=t.jinja")
    if draw(st.booleans()):
        return _case("templates", line, Edit("put", "t.jinja", (own,)))
    known = Edit("copy", "t.jinja", (f"{GOOD}/base/chat_template.jinja",))
    return _case("templates", line, known, Edit("insert", "t.jinja", (draw(st.sampled_from([0.0, 1.0])), own)))


@st.composite
def _changed(draw: DrawFn, file: str) -> Edit:
    """Draw a change of a file of a model."""
    choices = [
        Edit("cut", file, (draw(st.floats(0, 1)),)),
        Edit("insert", file, (draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=8)))),
        Edit("put", file, (draw(st.sampled_from([b"", b"[]"])),)),
    ]
    if file.endswith(".json"):
        choices += [Edit("set_json", file, ((draw(TEXT),), draw(JSON)))] * 2
    if file.endswith(".safetensors"):
        size = draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little")
        choices.append(Edit("put", file, (size + b'{"a":1}',)))
    return draw(st.sampled_from(choices))


@st.composite
def _models(draw: DrawFn) -> Case:
    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    change = draw(_changed(f"m/{draw(st.sampled_from([*names, 'chat_template.jinja']))}"))
    return _case("models", words("stages=[data]", model="m"), Edit("copy", "m", (f"{GOOD}/base",)), change)


@st.composite
def _adapters(draw: DrawFn) -> Case:
    change = draw(_changed(f"a/{draw(st.sampled_from(['adapter_config.json', 'adapter_model.safetensors']))}"))
    line = words(*ADAPTER, "checkpoint=a")
    return _case("adapters", line, Edit("copy", "a", (f"{GOOD}/adapter",)), change, sound="evaluate")


KINDS: Mapping[str, SearchStrategy[Case]] = {
    "overrides": _overrides(), "yaml": _yaml(), "rows": _rows(), "templates": _templates(), "models": _models(),
    "adapters": _adapters(),
}  # fmt: skip
