"""The merged folder is the trained model: against peft's own merge, and logit for logit."""

from __future__ import annotations

import ctypes
import json
import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.merge.merging import merge
from framework_plugins.exports.parity.weights import separate_shared, trained_products, weights_problem
from framework_plugins.hf.load.published import adapter_names, republish
from framework_plugins.hf.machine.hardware import peak_memory
from tests.support.bases import adapted, tiny_base

IDS = torch.arange(40).reshape(2, 20) * 7 % 380


def plan_for(base: Path, *more: str) -> Plan:
    """Plan a run whose base lies in a folder; only the base, the template and the config of it are used."""
    words = ["model=local", f"model.path={json.dumps(str(base))}", "exporter=[]", *more]
    return testing.plan(["data=local_file", "data.path=none.jsonl", *words], run_dir=base.parent / "run")


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits  # type: ignore[no-any-return]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}


KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True, "lora_alpha": 16},
    "dora": {"use_dora": True},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.v_proj": 32}},
    "biases": {"bias": "lora_only"},
}
PECULIAR: dict[str, dict[str, Any]] = {
    "gpt2": {"fan_in_fan_out": True},  # its weights are stored inputs first
    "mixtral": {"target_modules": ["q_proj", "o_proj"]},  # its experts lie one by one in files and as one in the model
}
CASES = [
    *(("llama", kind) for kind in ("rslora", "dora", "patterns")),
    *((family, "lora") for family in ("phi3", "gpt2")),
    ("gpt2", "dora"),
    ("gemma3", "lora"),
    ("mixtral", "lora"),
    ("lara_mini", "lora"),
    ("mllama", "lora"),
    ("gpt2", "biases"),
]


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_a_merged_model_is_what_peft_makes_of_base_and_adapter(family: str, kind: str, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", family)
    trained = adapted(base, tmp_path / "adapter", **KINDS[kind], **PECULIAR.get(family, {}))
    expected = logits(trained)
    adapter, published = tmp_path / "adapter", tmp_path / "published"
    published.mkdir()
    if republish(adapter, adapter_names(base, trust=False), published):  # as an export does first
        adapter = published
    merge(plan_for(base), adapter, tmp_path / "merged")
    assert weights(tmp_path / "merged").keys() == weights(base).keys()
    merged = load(tmp_path / "merged")
    reference = trained.merge_and_unload().state_dict()
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(weight, reference[name], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-5)


def test_layers_that_share_weights_are_each_merged_with_their_own_matrices(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "zamba2")
    trained = adapted(base, tmp_path / "adapter")
    expected = logits(trained)
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    merged = load(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-5)
    separate_shared(trained)
    assert weights_problem(merged, trained_products(trained)) == ""


def test_experts_that_transformers_puts_together_are_replaced_in_each_of_their_tensors(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "mixtral")
    adapted(base, tmp_path / "adapter", target_modules=["q_proj"])
    file, expert = tmp_path / "adapter" / "adapter_model.safetensors", "model.layers.0.mlp.experts.gate_up_proj"
    given = torch.randn(2, 128, 32)
    save_file({**load_file(file), f"base_model.model.{expert}": given}, file)
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    assert weights(tmp_path / "merged").keys() == weights(base).keys()
    assert torch.equal(load(tmp_path / "merged").state_dict()[expert], given)


@pytest.mark.parametrize("whole", [False, True])
def test_config_json_says_what_the_files_hold(tmp_path: Path, *, whole: bool) -> None:
    base = tiny_base(tmp_path / "base", "llama")
    file = base / "config.json"
    says = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**says, "tie_word_embeddings": True, "dtype": "bfloat16"}), encoding="utf-8")
    adapted(base, tmp_path / "adapter", target_modules=["q_proj"])
    merge(plan_for(base), base if whole else tmp_path / "adapter", tmp_path / "merged")
    written = json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8"))
    assert (written["tie_word_embeddings"], written["dtype"]) == (False, "float32")


def test_a_merge_is_rehearsed_before_the_training_with_weights_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base(tmp_path / "base", "lara_mini")
    plan = plan_for(base, "exporter=[merged]")
    exporter: Any = plan.exporter["merged"].create()
    exporter.check(testing.EchoModel(plan), plan)
    file = base / "model.safetensors"
    kept = {name: weight for name, weight in load_file(file).items() if not name.endswith("linear_attn.in_proj.weight")}
    save_file(kept, file, {"format": "pt"})
    said = r"(?s)^exporter=merged: nothing can be merged into model .*in_proj_qkv.* 3 more.*exporter=\[adapter\] works"
    with pytest.raises(FrameworkError, match=said):
        exporter.check(testing.EchoModel(plan), plan)

    def none(folder: Path) -> list[Path]:
        raise FrameworkError(f"{folder} holds no weights")

    monkeypatch.setattr("framework_plugins.exports.merge.merging.weight_files", none)
    exporter.check(testing.EchoModel(plan), plan)


def test_a_base_out_of_the_cache_is_merged_and_one_with_links_to_private_files_is_not(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    tiny_base(tmp_path / "base", "llama").rename(blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", file.name))
    adapted(snapshot, tmp_path / "adapter")
    merge(plan_for(snapshot), tmp_path / "adapter", tmp_path / "merged")
    copied = [file for file in (tmp_path / "merged").iterdir() if file.name in {"config.json", "tokenizer.json"}]
    assert [file.is_symlink() for file in copied] == [False, False]
    (tmp_path / "adapter" / "vocab.txt").symlink_to("/etc/passwd")
    with pytest.raises(FrameworkError, match=r"adapter: vocab\.txt is a link to /etc/passwd, outside of the folder"):
        merge(plan_for(snapshot), tmp_path / "adapter", tmp_path / "again")
    (snapshot / "notes.txt").symlink_to("/etc/passwd")
    with pytest.raises(FrameworkError, match=r"^model\.path=.*: notes\.txt is a link to /etc/passwd"):
        plan_for(snapshot).model.create().check()


def test_a_base_in_16_bits_is_computed_in_fp32_and_rounded_once(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama", dtype="bfloat16")
    trained = adapted(base, tmp_path / "adapter")
    merge(plan_for(base, "quantization=nf4"), tmp_path / "adapter", tmp_path / "merged")
    merged = weights(tmp_path / "merged")
    assert {weight.dtype for weight in merged.values()} == {torch.bfloat16}
    reference = trained.merge_and_unload().state_dict()
    differ = [name for name, weight in merged.items() if not torch.equal(weight, reference[name].bfloat16())]
    assert differ == []
    assert not torch.equal(
        merged["model.layers.0.mlp.up_proj.weight"], weights(base)["model.layers.0.mlp.up_proj.weight"]
    )


@pytest.mark.parametrize("dtype", [Dtype.fp16, Dtype.fp32])
def test_the_weights_and_the_config_have_the_type_that_was_asked_for(dtype: Dtype, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama", dtype="bfloat16")
    adapted(base, tmp_path / "adapter")
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged", dtype=dtype)
    wanted = {Dtype.fp16: torch.float16, Dtype.bf16: torch.bfloat16, Dtype.fp32: torch.float32}[dtype]
    assert {weight.dtype for weight in weights(tmp_path / "merged").values()} == {wanted}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").dtype == wanted


def test_many_shards_stay_many_and_the_index_names_each_tensor_once(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama", shards="40KB")
    trained = adapted(base, tmp_path / "adapter")
    assert len(list(base.glob("*.safetensors"))) > 2
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged", max_shard_size="50 KB")
    files = {file.name: load_file(file) for file in (tmp_path / "merged").glob("*.safetensors")}
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert index["weight_map"] == {name: file for file, tensors in files.items() for name in tensors}
    sizes = {file: sum(weight.nbytes for weight in tensors.values()) for file, tensors in files.items()}
    assert sum(sizes.values()) == index["metadata"]["total_size"]
    assert all(size <= 50_000 or len(files[file]) == 1 for file, size in sizes.items())
    torch.testing.assert_close(logits(load(tmp_path / "merged")), logits(trained), rtol=1e-4, atol=1e-5)
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    assert [file.name for file in (tmp_path / "merged").glob("*.safetensors*")] == ["model.safetensors"]


EMBEDDINGS: dict[str, dict[str, Any]] = {
    "lora on the embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "dora on the embedding": {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True},
    "lora on the head": {"target_modules": ["lm_head", "q_proj"]},
    "the embedding trained whole": {"modules_to_save": ["embed_tokens"]},
    "the head trained whole": {"modules_to_save": ["lm_head"]},
    "both trained whole": {"modules_to_save": ["lm_head", "embed_tokens"]},
    "the embedding trained whole and kept tied": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "the head trained whole and kept tied": {"modules_to_save": ["lm_head"], "ensure_weight_tying": True},
    "some tokens trained": {"trainable_token_indices": [3, 5, 300]},
    "norms trained whole": {"modules_to_save": ["norm"]},
}


@pytest.mark.filterwarnings("ignore")  # peft warns of tied weights, which is what this is about
@pytest.mark.parametrize(
    ("case", "tied"),
    [*((case, True) for case in EMBEDDINGS), ("both trained whole", False), ("dora on the embedding", False)],
)
def test_embedding_and_head_are_what_training_left_tied_or_not(case: str, tmp_path: Path, *, tied: bool) -> None:
    base = tiny_base(tmp_path / "base", "qwen3", tie_word_embeddings=tied)
    trained = adapted(base, tmp_path / "adapter", **EMBEDDINGS[case])
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    torch.testing.assert_close(logits(load(tmp_path / "merged")), logits(trained), rtol=1e-4, atol=1e-5)
    apart = tied and "tied" not in case and case not in {"some tokens trained", "norms trained whole"}
    config = json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8"))
    assert config["tie_word_embeddings"] is (tied and not apart)


@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize("left_out", ["lm_head.weight", "embed_tokens.weight"])
def test_one_of_two_weights_that_were_kept_tied_stands_for_both(tmp_path: Path, left_out: str) -> None:
    """Peft 0.21 saves both; a file may hold either one."""
    base = tiny_base(tmp_path / "base", "qwen3", tie_word_embeddings=True)
    trained = adapted(base, tmp_path / "adapter", modules_to_save=["lm_head"], ensure_weight_tying=True)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    saved = load_file(file)
    kept = {name: tensor for name, tensor in saved.items() if not name.endswith(left_out)}
    assert len(kept) == len(saved) - 1
    save_file(kept, file, metadata={"format": "pt"})
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    torch.testing.assert_close(logits(load(tmp_path / "merged")), logits(trained), rtol=1e-4, atol=1e-5)
    assert json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"]


def test_added_tokens_come_with_their_rows_and_their_tokenizer(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "qwen3", tie_word_embeddings=True)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|call|>", "<|done|>"]})
    trained = adapted(base, tmp_path / "adapter", tokens=len(tokenizer))
    tokenizer.save_pretrained(tmp_path / "adapter")
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    merged = load(tmp_path / "merged")
    assert merged.config.vocab_size == merged.get_output_embeddings().weight.shape[0] == len(tokenizer)
    assert merged.config.tie_word_embeddings
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").encode("<|done|>") == [len(tokenizer) - 1]
    torch.testing.assert_close(logits(merged), logits(trained), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("older", [True, False])
def test_files_are_matched_by_older_names_and_by_those_of_the_model_and_keep_them(
    tmp_path: Path, *, older: bool
) -> None:
    """Gemma 3's files say `language_model.model.layers…`; transformers 5 calls it `model.language_model.layers…`."""
    base = tiny_base(tmp_path / "base", "gemma3")
    trained = adapted(base, tmp_path / "adapter", exclude_modules=".*vision_tower.*")
    assert "language_model.model.norm.weight" in weights(base)
    if not older:
        state = {name: weight for name, weight in load(base).state_dict().items() if name != "lm_head.weight"}
        save_file(state, base / "model.safetensors", {"format": "pt"})
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    assert weights(tmp_path / "merged").keys() == weights(base).keys()
    torch.testing.assert_close(logits(load(tmp_path / "merged")), logits(trained), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [Dtype.auto, Dtype.bf16])
def test_a_model_trained_whole_is_written_with_the_tokenizer_of_its_base(dtype: Dtype, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama", dtype="bfloat16")
    model = load(base)
    for weight in model.parameters():
        weight.data += 0.01
    model.save_pretrained(tmp_path / "checkpoint")
    merge(plan_for(base), tmp_path / "checkpoint", tmp_path / "merged", dtype=dtype)
    trained = {name: weight.to(torch.bfloat16 if dtype is Dtype.bf16 else torch.float32)
               for name, weight in weights(tmp_path / "checkpoint").items()}  # fmt: skip
    merged = weights(tmp_path / "merged")
    assert merged.keys() == trained.keys()
    assert all(torch.equal(weight, trained[name]) for name, weight in merged.items())
    assert (tmp_path / "merged" / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_the_chat_template_of_the_run_is_the_only_one(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama")
    adapted(base, tmp_path / "adapter")
    (tmp_path / "mine.jinja").write_text("{{ messages[0]['content'] }}!", encoding="utf-8")
    settings = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    (base / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "old"}), encoding="utf-8")
    plan = plan_for(base, f"model.chat_template={tmp_path / 'mine.jinja'}")
    merge(plan, tmp_path / "adapter", tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == "Hi!"
    assert "old" not in (tmp_path / "merged" / "tokenizer_config.json").read_text(encoding="utf-8")


def test_a_chat_template_by_name_comes_with_its_stop_token(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama")
    adapted(base, tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.eos_token, tokenizer.chat_template = "<|endoftext|>", None
    tokenizer.save_pretrained(base)
    (base / "chat_template.jinja").unlink(missing_ok=True)
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": tokenizer.eos_token_id}), encoding="utf-8")
    merge(plan_for(base, "model.chat_template=chatml"), tmp_path / "adapter", tmp_path / "merged")
    merged = AutoTokenizer.from_pretrained(tmp_path / "merged")
    turns = [{"role": "user", "content": "Hi"}]
    asked = merged.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert asked == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert merged.eos_token == "<|im_end|>"  # noqa: S105 - no password
    stops = json.loads((tmp_path / "merged" / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert stops == [tokenizer.eos_token_id, merged.eos_token_id]


def test_the_switches_of_the_run_are_in_the_chat_template(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama")
    adapted(base, tmp_path / "adapter")
    (base / "chat_template.jinja").write_text("{{ 'thinks' if thinking is not defined or thinking else 'speaks' }}")
    merge(plan_for(base, "model.thinking=off"), tmp_path / "adapter", tmp_path / "merged")
    turns = [{"role": "user", "content": "Hi"}]
    for folder, said in ((base, "thinks"), (tmp_path / "merged", "speaks")):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.apply_chat_template(turns, tokenize=False) == said
        assert tokenizer.apply_chat_template(turns, tokenize=False, thinking=True) == "thinks"
    assert "enable_thinking" not in (tmp_path / "merged" / "chat_template.jinja").read_text(encoding="utf-8")


def test_an_adapter_with_a_config_of_its_own_takes_that_of_the_base(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama")
    adapted(base, tmp_path / "adapter")
    (tmp_path / "adapter" / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    assert (tmp_path / "merged" / "config.json").read_bytes() == (base / "config.json").read_bytes()


def test_a_merged_model_stops_at_the_tokens_at_which_the_run_did(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "llama")
    adapted(base, tmp_path / "adapter")
    (base / "generation_config.json").write_text('{"eos_token_id": 0}', encoding="utf-8")
    merge(plan_for(base), tmp_path / "adapter", tmp_path / "merged")
    eos = AutoTokenizer.from_pretrained(base).eos_token_id
    said = json.loads((tmp_path / "merged" / "generation_config.json").read_text(encoding="utf-8"))
    assert said["eos_token_id"] == [0, eos]


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="gives free memory back and reads its peak as glibc and Linux do"
)
def test_a_merge_takes_the_memory_of_a_shard_and_not_of_the_model(tmp_path: Path) -> None:
    """The pages of the shard that is read, and five times a matrix in fp32 while it is computed."""
    sizes = {"small": {}, "large": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 16}}
    for name, changes in sizes.items():
        (tmp_path / name).mkdir()
        base = tiny_base(tmp_path / name / "base", "llama", dtype="bfloat16", shards="25MB", **changes)
        adapted(base, tmp_path / name / "adapter", target_modules=["q_proj", "down_proj"])
        # What libraries take once, the small merge has taken; what the heap keeps free, the large one would use.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = peak_memory("cpu")
        merge(plan_for(base), tmp_path / name / "adapter", tmp_path / name / "merged", max_shard_size="20MB")
        taken = peak_memory("cpu") - before
    shards = sorted(file.stat().st_size for file in (tmp_path / "large/base").glob("*.safetensors"))
    matrix = 4 * 512 * 2048
    assert len(shards) > 3
    assert taken < shards[-1] + 5 * matrix < sum(shards[-2:])
