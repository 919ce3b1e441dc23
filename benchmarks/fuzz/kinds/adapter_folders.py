"""Folders of adapters, made from a real one by one mutation."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.fuzz.case import ADAPTER, GOOD, Case, Expect, words
from benchmarks.fuzz.edits import Edit
from benchmarks.fuzz.kinds import tensors

R, S, E = Expect.REFUSED, Expect.SAME, Expect.EITHER
NAN, INF = float("nan"), float("inf")
CONFIG, WEIGHTS = "a/adapter_config.json", "a/adapter_model.safetensors"
LINE, GIVEN = words(*ADAPTER, "checkpoint=a"), Edit("copy", "a", (f"{GOOD}/adapter",))
FIRST = "base_model.model.model.layers.0.self_attn.q_proj"
TENSORS = (
    f"{FIRST}.lora_A.weight",
    f"{FIRST}.lora_B.weight",
    "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight",
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=9)


def _case(what: str, expect: Expect, *edits: Edit, names: tuple[str, ...] = (), why: str = "") -> Case:
    own = (*names, "checkpoint=a", "adapter_config.json", "adapter_model.safetensors", "/place/a")
    return Case("adapter_folders", what, LINE, expect, "evaluate", names=own, edits=(GIVEN, *edits), why=why)


VALUES: tuple[tuple[str, tuple[Any, ...], Expect], ...] = (
    ("r", (0, -1, 1, 3, 4, 64, 10**9, 1.5, "x", None, []), R),
    ("lora_alpha", (0, -8, NAN, INF, "x", None, [], 10**40), R),
    ("target_modules", ([], ["nope"], "nope", None, "(", 5, [5], ["q_proj"], {}, ["lm_head"]), R),
    ("peft_type", ("LOHA", "NOPE", "", None, 5, "PROMPT_TUNING", "IA3", "lora"), R),
    ("task_type", ("SEQ_CLS", "NOPE", 5), R), ("task_type", (None,), E),
    ("modules_to_save", (["lm_head"], 5), R), ("modules_to_save", (["nope"], "x"), E), ("use_dora", (True, "x"), R),
    ("rank_pattern", ({"q_proj": 8}, {"q_proj": "x"}, 5), R),
    ("alpha_pattern", ({"q_proj": "x"}, {"q_proj": NAN}, 5, {"q_proj": 0}), R),
    ("bias", ("nope", 5), R), ("bias", ("all", "lora_only"), E), ("lora_bias", (True,), R),
    ("layer_replication", ([[0, 100_000]], [[0, 2], [0, 2]], "x", [[0]], 5), R),
    # peft asks only for layers that are named by a part of their name, and the tensors say which layers are meant.
    ("layers_to_transform", ([0], [99], "x", 5), E), ("trainable_token_indices", ([1], [10**6], "x"), R),
    ("target_parameters", (["nope"], "x", 5), E), ("init_lora_weights", ("pissa", "eva", "nope", "gaussian", 5), E),
    ("fan_in_fan_out", (True,), E),
    ("base_model_name_or_path", ("elsewhere", None, 5, "../../x", "\x1b[31m"), E),
    ("exclude_modules", ("q_proj", ["nope"], "("), E), ("use_rslora", ("x", 5), E),
    ("auto_mapping", ({"base_model_class": "x", "parent_library": "os"},), E), ("lora_dropout", (5, -1, NAN, "x"), E),
    ("megatron_config", ({}, {"a": 1}, 5), E), ("loftq_config", (5, {"a": 1}), E),
    ("inference_mode", (True, False), S), ("revision", ("x", None), S), ("peft_version", ("99", "x"), S),
    ("megatron_core", ("os", "nope"), S), ("corda_config", (None,), S),
    ("eva_config", ({}, 5), E), ("runtime_config", ({"ephemeral_gpu_offload": True}, 5), E), ("use_qalora", (True,), E),
    ("alora_invocation_tokens", ([1], "x"), R),
)  # fmt: skip
WHY = "nothing depends on the value in an evaluation, or it cannot be used"


@st.composite
def _values(draw: DrawFn) -> Case:
    key, values, expect = draw(st.sampled_from(VALUES))
    change = Edit("set_json", CONFIG, ((key,), draw(st.sampled_from(values))))
    return _case(f"{key}", expect, change, names=(key,), why=WHY if expect is E else "")


@st.composite
def _types(draw: DrawFn) -> Case:
    key = draw(st.sampled_from(["r", "lora_alpha", "target_modules", "peft_type", "rank_pattern"]))
    value = draw(
        st.lists(st.integers(), min_size=1, max_size=2)
        | st.integers(-(2**70), -1)
        | st.text("xyz", min_size=1, max_size=4)
    )
    return _case(f"{key} of a wrong type", R, Edit("set_json", CONFIG, ((key,), value)), names=(key,))


@st.composite
def _keys(draw: DrawFn) -> Case:
    if draw(st.booleans()):
        key = "x_" + draw(st.text("abcé_. -", max_size=5))
        why = "newer versions of peft write keys that older ones do not know"
        return _case("a key that nothing reads", E, Edit("set_json", CONFIG, ((key,), draw(LEAVES))), why=why)
    key, expect = draw(
        st.sampled_from([("peft_type", R), ("target_modules", R), ("r", R), ("lora_alpha", E), ("task_type", E),
        ("base_model_name_or_path", E), ("bias", S), ("revision", S), ("inference_mode", S), ("peft_version", S),
        ("init_lora_weights", S)])
    )  # fmt: skip
    return _case(f"no {key}", expect, Edit("drop_json", CONFIG, ((key,),)), names=(key,), why=WHY)


@st.composite
def _files(draw: DrawFn) -> Case:
    file = draw(st.sampled_from([CONFIG, WEIGHTS]))
    choices: list[tuple[str, Expect, Edit]] = [
        ("gone", R, Edit("gone", file)), ("empty", R, Edit("put", file, (b"",))), ("a folder", R, Edit("folder", file)),
        ("a pipe", R, Edit("pipe", file)),
        ("a socket", R, Edit("listen", file)), ("a link to itself", R, Edit("link", file, (file[2:],))),
        ("a link to a device", R, Edit("link", file, ("/dev/zero",))), ("nulls", R, Edit("zero", file)),
        ("a link to nowhere", R, Edit("link", file, ("gone",))),
        ("cut", R, Edit("cut", file, (draw(st.floats(0.05, 0.95)),))),
    ]  # fmt: skip
    if file == CONFIG:
        content = draw(
            st.sampled_from(
                [b"[]", b"null", b"5", b'"x"', b"{", b"{}}", b"{}", b"\xff\xfe{\0}\0", b'{"a":' * 100_000, b"NaN"]
            )
        )
        choices += [
            ("no adapter's", R, Edit("put", file, (content,))),
            ("written differently", S, Edit("shuffle_json", file, (draw(st.integers(0, 5)),))),
        ]
    what, expect, edit = draw(st.sampled_from(choices))
    return _case(f"{file[2:]}: {what}", expect, edit)


@st.composite
def _weights(draw: DrawFn) -> Case:
    what, expect, edit, name = draw(tensors.changed(WEIGHTS, TENSORS))
    return _case(f"weights: {what}", expect, edit, names=(name,), why=tensors.WHY)


OTHERS: tuple[tuple[str, Expect, tuple[Edit, ...]], ...] = (
    ("README.md", S, (Edit("put", "a/README.md", (b"---\nlicense: [\n---",)),)),
    ("a pickle", S, (Edit("put", "a/adapter_model.bin", (b"\x80\x04cos\nsystem\n(S'touch x'\ntR.",)),)),
    ("a pipe", R, (Edit("pipe", "a/notes"),)),  # as beside the weights of a model
    ("only a pickle", R,
        (Edit("gone", WEIGHTS), Edit("put", "a/adapter_model.bin", (b"\x80\x04cos\nsystem\n(S'touch x'\ntR.",)))),
    ("arguments", S, (Edit("put", "a/training_args.bin", (b"x",)),)),
    ("weights of a model", E, (Edit("copy", "a/model.safetensors", (f"{GOOD}/base/model.safetensors",)),)),
    ("a config of a model", E, (Edit("copy", "a/config.json", (f"{GOOD}/base/config.json",)),)),
    ("a broken tokenizer", E, (Edit("put", "a/tokenizer.json", (b"{",)),)),
    ("a template", E, (Edit("put", "a/chat_template.jinja", (b"{{",)),)),
    ("an index", E, (Edit("put", "a/adapter_model.safetensors.index.json", (b"{}",)),)),
    ("a tokenizer of the base", E, (Edit("copy", "a/tokenizer.json", (f"{GOOD}/base/tokenizer.json",)),)),
)  # fmt: skip


def _others(which: tuple[str, Expect, tuple[Edit, ...]]) -> Case:
    what, expect, edits = which
    return _case(f"besides: {what}", expect, *edits, why="the file may belong to the adapter or not")


CASES = st.one_of(
    _values(),
    _values(),
    _values(),
    _types(),
    _keys(),
    _files(),
    _weights(),
    _weights(),
    st.sampled_from(OTHERS).map(_others),
)
