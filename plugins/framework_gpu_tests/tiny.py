"""Tiny random models with real tokenizers, and rows to train them on, all made without a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TEXT = """Below is an instruction that describes a task. Write a response that completes the request.
Add the two numbers. Which number follows the other? Say whether the number is even or odd.
user assistant system You are a small model that answers in short sentences. The answer is 1, 2, 3."""

_LLAMA3_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

_CHATML_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\\nYou are a small model that answers in short sentences.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

# How Llama 3 cuts text into words.
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tiny_llama(folder: Path, *, hidden_size: int = 64) -> Path:
    """Write a random two-layer Llama with Llama 3's tokens and chat form; like Llama 3, encoding adds the bos."""
    from tokenizers import Regex, pre_tokenizers, processors

    words = pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated")
    cutter = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bos, headers = "<|begin_of_text|>", ["<|start_header_id|>", "<|end_header_id|>"]
    tokenizer = _tokenizer(
        cutter,
        [bos, "<|end_of_text|>", *headers, "<|eot_id|>", "<|finetune_right_pad_id|>"],
        {"bos_token": bos, "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"},
        _LLAMA3_TEMPLATE,
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return _write(folder, tokenizer, ["<|end_of_text|>", "<|eot_id|>"], hidden_size)


def tiny_chatml(folder: Path) -> Path:
    """Write the same model with ChatML and a default system prompt; like SmolLM2, it pads with its eos token."""
    from tokenizers import pre_tokenizers

    cutter = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer = _tokenizer(
        cutter,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        {
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|im_end|>",
            "unk_token": "<|endoftext|>",
        },
        _CHATML_TEMPLATE,
    )
    return _write(folder, tokenizer, ["<|im_end|>"], 64)


def chat_rows(n: int) -> list[dict[str, str]]:
    """Return n different Alpaca rows (instruction, input, output); every third has an empty input."""
    return [_row(number) for number in range(n)]


def _row(number: int) -> dict[str, str]:
    following = str(number + 1)
    return (
        {"instruction": "Add the two numbers.", "input": f"{number} and 1", "output": following},
        {"instruction": f"Which number follows {number}?", "input": "", "output": f"It is {following}."},
        {"instruction": "Say even or odd.", "input": str(number), "output": "odd" if number % 2 else "even"},
    )[number % 3]


def _tokenizer(cutter: Any, special: Sequence[str], roles: dict[str, str], template: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = cutter
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(_TEXT.splitlines(), trainer)
    core.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=2048, chat_template=template, **roles)


def _write(folder: Path, tokenizer: Any, ends: Sequence[str], hidden_size: int) -> Path:
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokens = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        **tokens,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    stops = tokenizer.convert_tokens_to_ids(list(ends))
    model.generation_config = GenerationConfig(**{**tokens, "eos_token_id": stops if len(stops) > 1 else stops[0]})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
