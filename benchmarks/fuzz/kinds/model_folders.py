"""Folders of models, made from a real one by one mutation."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.fuzz.case import GOOD, Case, Expect, words
from benchmarks.fuzz.edits import Edit
from benchmarks.fuzz.kinds import tensors

R, S, E, A = Expect.REFUSED, Expect.SAME, Expect.EITHER, Expect.ANY
NAN, INF = float("nan"), float("inf")
LINE, BASE = words(model="m"), Edit("copy", "m", (f"{GOOD}/base",))
CONFIG, GENERATION, TOKENS, SETTINGS, TEMPLATE, WEIGHTS, INDEX = (
    f"m/{name}" for name in (
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "model.safetensors", "model.safetensors.index.json",
    )
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=9)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def _case(
    what: str, expect: Expect, *edits: Edit, names: tuple[str, ...] = (), why: str = "", of_folder: bool = True
) -> Case:
    """Return a case; `of_folder`: a refusal may name the folder only."""
    own = (*names, "model.path=m", "/place/m") if of_folder else names
    return Case("model_folders", what, LINE, expect, names=own, edits=(BASE, *edits), why=why)


# ---- settings

CONFIG_VALUES: tuple[tuple[str, tuple[Any, ...], Expect], ...] = (
    ("hidden_size", (0, -1, 1.5, "x", [], {}, 12, 15, 17, 32, 2**40), R),
    ("num_hidden_layers", (-1, 1, 3, 1.5, "x", [], 10**6), R),
    ("num_attention_heads", (0, -4, 3, 1.5, "x", [], 8), R),
    ("num_key_value_heads", (0, -2, 3, "x", [], 4), R),
    ("head_dim", (0, -4, 3, 1.5, "x", [], 8), R),
    ("intermediate_size", (0, -1, 31, 64, 1.5, "x", []), R),
    ("vocab_size", (0, -1, 10, 389, 391, 10**6, 1.5, "x", []), R),
    ("model_type", ("nope", "", None, 5, [], "gpt2", "bert", "t5", "qwen3", "mamba"), R),
    ("rms_norm_eps", (NAN, INF, -1.0, "x", []), R),
    ("rope_parameters", ({"rope_theta": 0, "rope_type": "default"}, {"rope_theta": NAN, "rope_type": "default"},
                         {"rope_type": "nope", "rope_theta": 1e4}, {"rope_type": "yarn"}, "x", 5), R),
    ("attention_dropout", (5, -1, NAN, "x", []), R),
    ("hidden_act", ("nope", "", 5, None, []), R),
    ("max_position_embeddings", (0, 1, 8, -5, "x", 1.5, []), R),
    ("quantization_config", ({"quant_method": "gptq", "bits": 4}, {"quant_method": "awq"}, {"quant_method": "nope"},
                             {"quant_method": "bitsandbytes", "load_in_4bit": True},
                             {"bits": 4},
                             {"quant_method": "compressed-tensors"}, 5, "x", [1]), R),
    ("quantization_config", ({"quant_method": "fp8"},), E),
    ("attn_implementation", ("flash_attention_2", "nope", "owner/repo", "flex_attention", 5), E),
    ("_attn_implementation", ("flash_attention_2", "nope", "owner/repo", 5), E),
    ("architectures", ([], None, ["Nope"], ["BertModel"], "x", 5), E),
    ("tie_word_embeddings", (True, "x", 5), E),
    ("attention_bias", (True,), R), ("mlp_bias", (True,), R),
    ("dtype", ("nope", "int8", "auto", 5), E), ("torch_dtype", ("float16", "nope", "int8"), E),
    ("eos_token_id", (10**6, -5, "x", []), E), ("bos_token_id", (10**6, "x"), E), ("pad_token_id", (10**6, -1, "x"), E),
    ("auto_map",
        ({"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}, {"AutoConfig": "a/b--evil.C"}, 5), E),
    ("use_cache", (False,), S), ("use_cache", ("x",), E),
    ("_name_or_path", ("elsewhere", ""), S), ("transformers_version", ("99.0", "x"), S),
    ("initializer_range", (0.5, 0.0), S), ("output_attentions", (True,), E), ("output_hidden_states", (True,), E),
    ("return_dict", (False,), E), ("is_decoder", (True,), E), ("is_encoder_decoder", (True,), E),
    ("pretraining_tp", (2, 0), E), ("num_labels", (5, -1), E), ("layer_types", ([], ["nope", "nope"]), E),
    ("loss_type", ("nope", "ForSequenceClassification"), E), ("chunk_size_feed_forward", (3,), E),
    ("label_smoothing", (0.5,), S), ("tp_plan", ("auto",), E), ("sliding_window", (4, -1), E),
    ("gradient_checkpointing", (True,), E),
)  # fmt: skip
WHY_EITHER = "nothing depends on the value, or it cannot be used"


@st.composite
def _config(draw: DrawFn) -> Case:
    key, values, expect = draw(st.sampled_from(CONFIG_VALUES))
    change = Edit("set_json", CONFIG, ((key,), draw(st.sampled_from(values))))
    return _case(
        f"config.json: {key}", expect, change, names=(key, "config.json"), why=WHY_EITHER if expect is E else ""
    )


@st.composite
def _config_types(draw: DrawFn) -> Case:
    """Draw a value of a wrong type for a size."""
    key = draw(
        st.sampled_from(["hidden_size", "vocab_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"])
    )
    value = draw(
        st.text(min_size=1, max_size=5).filter(lambda text: not text.strip().isdecimal())
        | st.lists(LEAVES, max_size=2)
        | st.integers(-(2**70), 0)
    )
    return _case(
        f"config.json: {key} of a wrong type", R, Edit("set_json", CONFIG, ((key,), value)), names=(key, "config.json")
    )


@st.composite
def _unknown_keys(draw: DrawFn) -> Case:
    """Draw a key that nobody knows in a file of settings."""
    file = draw(st.sampled_from([CONFIG, GENERATION, SETTINGS]))
    key = "x_" + draw(st.text("abcé_. -", max_size=5))
    return _case(f"{file[2:]}: a key that nothing reads", S, Edit("set_json", file, ((key,), draw(JSON))))


@st.composite
def _missing_keys(draw: DrawFn) -> Case:
    key, expect = draw(
        st.sampled_from(
            [(key, R) for key in ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size",
            "intermediate_size", "model_type", "num_key_value_heads")]
            + [(key, S) for key in ("use_cache", "transformers_version", "initializer_range", "attention_bias",
            "mlp_bias", "rms_norm_eps", "hidden_act", "pretraining_tp", "dtype")]
            + [(key, E) for key in ("architectures", "eos_token_id", "bos_token_id", "pad_token_id", "head_dim",
            "rope_parameters", "tie_word_embeddings")]
        )
    )  # fmt: skip
    return _case(
        f"config.json without {key}",
        expect,
        Edit("drop_json", CONFIG, ((key,),)),
        names=(key, "config.json"),
        why=WHY_EITHER,
    )


GENERATION_VALUES: tuple[tuple[str, tuple[Any, ...], Expect], ...] = (
    ("eos_token_id", ([], "x", 10**6, -1, [10**6], [None], {}), E), ("temperature", ("hot", -1, NAN, 0), E),
    ("do_sample", (True, "x", 5), E), ("max_length", (-1, 0, "x", 5), E), ("max_new_tokens", (0, "x"), E),
    ("custom_generate", ("owner/repo", "."), E), ("bad_words_ids", ([[]], "x"), E), ("num_beams", (0, 5, "x"), E),
    ("cache_implementation", ("nope", "static"), E), ("stop_strings", (["a"], 5), E), ("top_p", (5, "x"), E),
    ("pad_token_id", (10**6,), E),
    ("transformers_version", ("99",), S), ("_from_model_config", (True, False), S), ("bos_token_id", (10**6, "x"), E),
)  # fmt: skip
SETTING_VALUES: tuple[tuple[str, tuple[Any, ...], Expect], ...] = (
    ("tokenizer_class", ("Nope", "BertTokenizer", "LlamaTokenizer", "", 5, None), E),
    ("model_max_length", (4, 0, -1, "many", NAN, 1e30, None), E),
    ("eos_token", (None, "nope", "", 5, [], {"content": "nope"}, {"a": 1}), R), ("pad_token", (None, "nope", "", 5), E),
    ("bos_token", (None,), A), ("bos_token", ("nope", 5), E),
    ("padding_side", ("left",), S), ("padding_side", ("middle", 5), E),
    ("truncation_side", ("left",), S),
    ("auto_map", ({"AutoTokenizer": ["evil.T", None]}, 5), E), ("chat_template", ("{{", 5, [], "{{ 9**9**9 }}"), E),
    ("backend", ("nope", 5), E),
    ("add_bos_token", (True, False), E), ("add_eos_token", (True,), E),
    ("clean_up_tokenization_spaces", (True, False), E),
    ("added_tokens_decoder",
        ({"5": {"content": "x", "special": True}}, {"x": 1}, [], {"99999": {"content": "<new>", "special": True}}), E),
    ("additional_special_tokens", (["number"], "x", [5]), E),
    ("extra_special_tokens", ({"a": "number"}, ["number"], 5), E), ("split_special_tokens", (True,), E),
    ("legacy", (True, False), S), ("name_or_path", ("elsewhere",), S), ("use_default_system_prompt", (True,), S),
    ("sp_model_kwargs", ({},), S),
)  # fmt: skip


@st.composite
def _settings(draw: DrawFn) -> Case:
    file, values_of = draw(st.sampled_from([(GENERATION, GENERATION_VALUES), (SETTINGS, SETTING_VALUES)]))
    key, values, expect = draw(st.sampled_from(values_of))
    names = (file[2:], key, "tokenizer", "stop token", "ends an answer")
    change = Edit("set_json", file, ((key,), draw(st.sampled_from(values))))
    return _case(
        f"{file[2:]}: {key}",
        expect,
        change,
        names=names,
        why={E: WHY_EITHER, A: "a base may begin a text with no token"}.get(expect, ""),
    )


# ---- tokenizer and template

PADDING = {
    "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 389, "pad_type_id": 0,
    "pad_token": "<|finetune_right_pad_id|>",
}  # fmt: skip
DIGITS = {"type": "Replace", "pattern": {"Regex": "[0-9]"}, "content": ""}
TOKEN_VALUES: tuple[tuple[str, tuple[str | int, ...], Any, Expect], ...] = (
    ("drops digits", ("normalizer",), DIGITS, R), ("lowercases", ("normalizer",), {"type": "Lowercase"}, R),
    ("drops letters", ("normalizer",), {"type": "Replace", "pattern": {"String": "e"}, "content": ""}, R),
    ("strips accents, of which there are none", ("normalizer",), {"type": "StripAccents"}, S),
    ("composes", ("normalizer",), {"type": "NFC"}, S),
    ("cuts after 4 tokens", ("truncation",),
    {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}, S),
    ("pads to 64 tokens", ("padding",),
    PADDING,
    S),
    ("unknown normalizer", ("normalizer",), {"type": "Nope"}, R), ("unknown model", ("model", "type"), "Nope", R),
    ("no vocabulary", ("model", "vocab"), {}, R),
    ("unknown decoder", ("decoder",), {"type": "Nope"}, R), ("no model", ("model",), None, R),
    ("an id of text", ("added_tokens", 4, "id"), "x", R),
    ("an id beyond the table", ("added_tokens", 4, "id"), 5000, E), ("a negative id", ("added_tokens", 4, "id"), -1, R),
    ("a huge id", ("added_tokens", 4, "id"), 2**40, R),
    ("another stop token", ("added_tokens", 4, "content"), "<|end|>", R),
    ("merges of numbers", ("model", "merges"), [5], R),
    ("merges of unknown tokens", ("model", "merges"), [["qq", "zz"]], R), ("another version", ("version",), "9.9", E),
    ("a list", ("added_tokens",), 5, R),
    ("no decoder", ("decoder",), None, E), ("a template for pairs is gone", ("post_processor",), None, S),
    ("a pattern without an end", ("pre_tokenizer",),
    {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}, R),
    ("a stop token that is not a special one", ("added_tokens", 4, "special"), False, E),
    ("a stop token that takes white space", ("added_tokens", 4, "lstrip"), True, E),
    ("drops tokens at random", ("model", "dropout"), 0.5, R),
    ("an unknown token that does not exist", ("model", "unk_token"), "<nope>", E),
)  # fmt: skip


def _tokens(which: tuple[str, tuple[str | int, ...], Any, Expect]) -> Case:
    what, keys, value, expect = which
    names = ("tokenizer", "white space", "stop token", "ends an answer")
    return _case(
        f"tokenizer.json: {what}", expect, Edit("set_json", TOKENS, (keys, value)), names=names, why=WHY_EITHER
    )


@st.composite
def _template(draw: DrawFn) -> Case:
    what, expect, edit = draw(
        st.sampled_from(
            [
                ("empty", R, Edit("put", TEMPLATE, (b"",))),
                ("broken", R, Edit("insert", TEMPLATE, (draw(st.floats(0.1, 0.9)), b"{% if %}"))),
                ("a comment", S,
                    Edit("insert", TEMPLATE, (0.0, b"{#- " + draw(st.binary(max_size=9)).hex().encode() + b" -#}"))),
                ("an unused name", S, Edit("insert", TEMPLATE, (0.0, b"{%- set x = 5 -%}"))),
                ("not UTF-8", R, Edit("insert", TEMPLATE, (0.0, b"\xff\xfe"))),
                ("an unknown filter", R, Edit("insert", TEMPLATE, (0.0, b"{{ 'a' | nope }}"))),
                ("no end", R, Edit("insert", TEMPLATE, (0.0, b"{% for i in range(10**9) %}{% endfor %}"))),
                ("always the same text", R, Edit("put", TEMPLATE, (b"x",))),
                ("another name", R, Edit("insert", TEMPLATE, (0.0, b"{{ ''.__class__.__mro__ }}{{ x.y.z }}"))),
                ("one message only", R, Edit("put", TEMPLATE, (b"{{ messages[0].content }}",))),
                ("raises", R, Edit("put", TEMPLATE, (b"{{ raise_exception('never') }}",))),
                ("CRLF", A, Edit("insert", TEMPLATE, (1.0, b"\r\n"))), ("a pipe", R, Edit("pipe", TEMPLATE)),
                ("a folder", R, Edit("folder", TEMPLATE)),
            ]
        )
    )  # fmt: skip
    return _case(
        f"chat template: {what}",
        expect,
        edit,
        names=("template", "jinja"),
        why="white space of a template is text",
        of_folder=False,
    )


# ---- whole files

FILES = {CONFIG: R, TOKENS: R, TEMPLATE: R, WEIGHTS: R, GENERATION: E, SETTINGS: E}


@st.composite
def _files(draw: DrawFn) -> Case:
    file = draw(st.sampled_from(sorted(FILES)))
    name, is_json = file[2:], file.endswith(".json")
    choices: list[tuple[str, Expect, Edit]] = [
        ("gone", FILES[file], Edit("gone", file)), ("empty", R, Edit("put", file, (b"",))),
        ("a folder", FILES[file], Edit("folder", file)), ("a pipe", FILES[file], Edit("pipe", file)),
        ("a socket", FILES[file], Edit("listen", file)),
        ("a link to itself", FILES[file], Edit("link", file, (name,))),
        ("a link to a device", R, Edit("link", file, ("/dev/zero",))),
        ("a link to nowhere", FILES[file], Edit("link", file, ("gone",))), ("nulls", R, Edit("zero", file)),
    ]  # fmt: skip
    if is_json:
        content = draw(
            st.sampled_from([b"[]", b"null", b"5", b'"x"', b"{", b"{}}", b"\xff\xfe{\0}\0", b'{"a":' * 100_000, b"NaN"])
        )
        choices += [
            ("cut", R, Edit("cut", file, (draw(st.floats(0.1, 0.95)),))),
            ("no JSON object", R, Edit("put", file, (content,))),
            ("text after its end", R, Edit("insert", file, (1.0, b"}"))),
            ("not UTF-8", R, Edit("insert", file, (0.0, b"\xff"))),
        ]  # fmt: skip
        if name != "tokenizer.json":
            choices.append(("written differently", S, Edit("shuffle_json", file, (draw(st.integers(0, 5)),))))
            choices.append(("much white space", S, Edit("insert", file, (1.0, b" " * draw(st.integers(1, 1 << 20))))))
    what, expect, edit = draw(st.sampled_from(choices))
    return _case(
        f"{name}: {what}",
        expect,
        edit,
        names=(name, "chat template"),
        why="a model can do without the file",
        of_folder=name == "model.safetensors",
    )


# ---- tensors

TENSORS = (
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.1.mlp.up_proj.weight",
    "model.norm.weight",
    "lm_head.weight",
)


@st.composite
def _weights(draw: DrawFn) -> Case:
    what, expect, edit, name = draw(tensors.changed(WEIGHTS, TENSORS))
    return _case(f"weights: {what}", expect, edit, names=("safetensors", name, "weights"), why=tensors.WHY)


@st.composite
def _shards(draw: DrawFn) -> Case:
    count, name = draw(st.integers(1, 5)), draw(st.sampled_from(TENSORS))
    file = f"model-00001-of-{count:05d}.safetensors"
    changes: list[tuple[str, Expect, tuple[Edit, ...]]] = [
        ("sound", S, ()), ("no metadata", E, (Edit("drop_json", INDEX, (("metadata",),)),)),
        ("no total", S, (Edit("set_json", INDEX, (("metadata",), {})),)),
        ("a wrong total", S, (Edit("set_json", INDEX, (("metadata", "total_size"), draw(st.integers(-5, 2**50)))),)),
        ("no map", R, (Edit("drop_json", INDEX, (("weight_map",),)),)),
        ("an empty map", R, (Edit("set_json", INDEX, (("weight_map",), {})),)),
        ("a map of another type", R,
            (Edit("set_json", INDEX, (("weight_map",), draw(st.sampled_from([5, [], "x", None])))),)),
        ("a name out of the folder", R,
            (Edit("set_json", INDEX,
            (("weight_map", name), draw(st.sampled_from(["../x.safetensors", "/etc/passwd", "a/../../x", ".", "..", "",
            "\0"])))),)),
        ("a name of another type", R,
            (Edit("set_json", INDEX, (("weight_map", name), draw(st.sampled_from([5, None, [], {}])))),)),
        ("a file that is gone", R, (Edit("gone", f"m/{file}"),)),
        ("a file that is a pipe", R, (Edit("pipe", f"m/{file}"),)),
        ("a file that is cut", R, (Edit("cut", f"m/{file}", (0.5,)),)),
        ("a file that is empty", R, (Edit("put", f"m/{file}", (b"",)),)),
        ("a tensor that is not in the map", E, (Edit("drop_json", INDEX, (("weight_map", name),)),)),
        ("no JSON", R, (Edit("cut", INDEX, (draw(st.floats(0.0, 0.9)),)),)),
        ("a list", R, (Edit("put", INDEX, (b"[]",)),)), ("a pipe", R, (Edit("pipe", INDEX),)),
        ("a folder", R, (Edit("folder", INDEX),)),
    ]  # fmt: skip
    what, expect, more = draw(st.sampled_from(changes))
    return _case(
        f"shards: {what}",
        expect,
        Edit("shard", INDEX, (count,)),
        *more,
        names=("index", file, name, "weights"),
        why="the tensors are complete",
    )


OTHERS: tuple[tuple[str, Expect, tuple[Edit, ...]], ...] = (
    ("README.md", S, (Edit("put", "m/README.md", (b"# \x1b[31m",)),)),
    ("code", S, (Edit("put", "m/modeling_x.py", (b"raise SystemExit(3)",)),)),
    ("a pickle", S, (Edit("put", "m/pytorch_model.bin", (b"\x80\x04cos\nsystem\n(S'touch x'\ntR.",)),)),
    ("a folder", S, (Edit("put", "m/original/params.json", (b"{",)),)),
    # Exports copy what is beside the weights, and reading a pipe never ends.
    ("a pipe", R, (Edit("pipe", "m/notes"),)), ("git", S, (Edit("put", "m/.gitattributes", (b"*",)),)),
    ("an index", E, (Edit("put", INDEX, (b'{"weight_map":{}}',)),)),
    ("an adapter", E, (Edit("copy", "m/adapter_config.json", (f"{GOOD}/adapter/adapter_config.json",)),)),
    ("an empty adapter", E, (Edit("put", "m/adapter_config.json", (b"{}",)),)),
    ("a broken adapter", E, (Edit("put", "m/adapter_config.json", (b"{",)),)),
    ("a processor", S, (Edit("put", "m/preprocessor_config.json", (b"{}",)),)),
    ("special tokens", E, (Edit("put", "m/special_tokens_map.json", (b'{"eos_token": "nope"}',)),)),
    ("added tokens", E, (Edit("put", "m/added_tokens.json", (b'{"<new>": 5000}',)),)),
    ("more templates", E, (Edit("put", "m/additional_chat_templates/x.jinja", (b"{{",)),)),
    ("vocab", S, (Edit("put", "m/vocab.json", (b"{}",)),)),
    ("a template in JSON", E, (Edit("put", "m/chat_template.json", (b"{}",)),)),
    ("generate", S, (Edit("put", "m/custom_generate/generate.py", (b"raise SystemExit(3)",)),)),
    ("a model of SentencePiece", S, (Edit("put", "m/tokenizer.model", (b"x",)),)),
    ("GGUF", S, (Edit("put", "m/model.gguf", (b"GGUF",)),)),
    ("TensorFlow", S, (Edit("put", "m/tf_model.h5", (b"x",)),)),
    ("a second file of weights", E, (Edit("put", "m/model2.safetensors", (b"x",)),)),
)  # fmt: skip


def _others(which: tuple[str, Expect, tuple[Edit, ...]]) -> Case:
    what, expect, edits = which
    return _case(f"besides: {what}", expect, *edits, why="the file may belong to the model or not")


CASES = st.one_of(
    _config(), _config(), _config_types(), _unknown_keys(), _missing_keys(), _settings(),
    st.sampled_from(TOKEN_VALUES).map(_tokens), _template(), _files(),
    _weights(), _weights(), _shards(), st.sampled_from(OTHERS).map(_others),
)  # fmt: skip
