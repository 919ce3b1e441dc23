"""Tiny random models of families that docs/reference/models.md lists by their outcome: one or two of each model type.

`benchmarks/families.py` trains them beside plain transformers and peft. Those of `twins.py` have lines of their
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.twins import Config, Twin

Sizes = Mapping[str, Any]
CHATML, THINKS = "qwen3_2507", ("model.thinking=off",)

PLAIN: Sizes = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024,
}  # fmt: skip
HEADS: Sizes = {**PLAIN, "head_dim": 16}
"""With the size of a head, which some configs do not have."""
LATENT: Sizes = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16,
    "num_key_value_heads": 4,
}  # fmt: skip
CHOOSES: Sizes = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
EXPERTS: Sizes = {"num_experts": 4, **CHOOSES}
ROUTED: Sizes = {"n_routed_experts": 4, "n_shared_experts": 1, **CHOOSES}
LOCAL: Sizes = {"num_local_experts": 4, "num_experts_per_tok": 2}
ONE_GROUP: Sizes = {"n_group": 1, "topk_group": 1}
INDEXER: Sizes = {"index_topk": 16, "index_head_dim": 16, "index_n_heads": 64}
"""Attention to tokens that small heads choose, as many as are published: with two, many scores are exactly equal."""
DELTA: Sizes = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
}  # fmt: skip
MAMBA: Sizes = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_chunk_size": 16}
WINDOW: Sizes = {"sliding_window": 24}
"""Shorter than the rows."""
HALF: Sizes = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
MOST: Sizes = {**WINDOW, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]}
NO_DROPOUT: Sizes = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
GPT2: Sizes = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 1024}
SHARED: Sizes = {"shared_expert_intermediate_size": 32}

TOWER: Sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
SIGLIP: Sizes = {"model_type": "siglip_vision_model", **TOWER, "image_size": 16, "patch_size": 8}
CLIP: Sizes = {**SIGLIP, "model_type": "clip_vision_model"}
PIXTRAL: Sizes = {"model_type": "pixtral", **TOWER, "head_dim": 16, "image_size": 28, "patch_size": 14}
PATCHES: Sizes = {**TOWER, "image_size": 16, "patch_size": 8}
QWEN: Sizes = {
    "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64, "patch_size": 8,
}  # fmt: skip
QWEN3: Sizes = {**QWEN, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
SOUND: Sizes = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
                "num_mel_bins": 16}  # fmt: skip


def rope(**changes: Any) -> Sizes:
    """Return settings of rotary positions."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, **changes}}


MROPE = rope(mrope_section=[2, 3, 3])
INTERLEAVED = rope(mrope_section=[3, 3, 2], mrope_interleaved=True)


def text(model_type: str, *parts: Sizes, **changes: Any) -> Config:
    """Return the config of a model, or part, that reads text."""
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= part
    return lambda vocab: {"model_type": model_type, "vocab_size": vocab, **merged, **changes}


def wrapped(model_type: str, inner: Config, vision: Sizes | None, **changes: Any) -> Config:
    """Return the config of a class that also reads images or sound."""
    vision_part = {} if vision is None else {"vision_config": dict(vision)}
    return lambda vocab: {"model_type": model_type, "text_config": inner(vocab), **vision_part, **changes}


def twin(model_type: str, *parts: Sizes, tokenizer: str = CHATML, **changes: Any) -> Twin:
    """Return the twin of a class that reads text."""
    return Twin(text(model_type, *parts, **changes), tokenizer)


def sees(model_type: str, inner: Config, vision: Sizes | None, tokenizer: str = CHATML, **changes: Any) -> Twin:
    """Return the twin of a class with images or sound."""
    return Twin(wrapped(model_type, inner, vision, **changes), tokenizer)


DENSE: Mapping[str, Twin] = {
    "Llama 3.1": twin(
        "llama", HEADS,
        rope(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=8192),
        tokenizer="llama3",
    ),
    "Qwen2": twin("qwen2", PLAIN, tie_word_embeddings=True),
    "Qwen2, a window": twin("qwen2", PLAIN, WINDOW, use_sliding_window=True, max_window_layers=2),
    "Qwen2, a window that is not used": twin("qwen2", PLAIN, WINDOW, use_sliding_window=False, max_window_layers=4),
    "Qwen3": twin("qwen3", HEADS),
    "Mistral 7B v0.3": twin("mistral", HEADS, tokenizer="mistral_v3", sliding_window=None),
    "Mistral 7B v0.1": twin(
        "mistral", HEADS, tokenizer="mistral_v3", sliding_window=4096, max_position_embeddings=32768
    ),
    "Mistral, a short window": twin("mistral", HEADS, WINDOW, tokenizer="mistral_v3"),
    "Ministral 8B (2024)": twin("ministral", HEADS, HALF, tokenizer="mistral_v3"),
    "Gemma": twin("gemma", HEADS, tokenizer="gemma"),
    "Gemma 2": twin("gemma2", HEADS, HALF, tokenizer="gemma", query_pre_attn_scalar=16),
    "VaultGemma": twin("vaultgemma", HEADS, HALF, tokenizer="gemma", query_pre_attn_scalar=16),
    "Phi-1.5": twin("phi", PLAIN, tokenizer="phi4", num_key_value_heads=4, partial_rotary_factor=0.5),
    "Phi-2, with its dropout": twin(
        "phi", PLAIN, tokenizer="phi4", num_key_value_heads=4, partial_rotary_factor=0.5, resid_pdrop=0.1
    ),
    "Granite 3": twin(
        "granite", PLAIN, tokenizer="granite4", embedding_multiplier=12.0, logits_scaling=8.0, residual_multiplier=0.22,
        attention_multiplier=0.0625,
    ),
    "Granite, windows": twin("granite_swa", PLAIN, HALF, tokenizer="granite4"),
    "OLMo": twin("olmo", PLAIN, tokenizer="olmo3", clip_qkv=8.0),
    "OLMo 2": twin("olmo2", PLAIN, tokenizer="olmo3"),
    "Apertus": twin("apertus", PLAIN),
    "Arcee": twin("arcee", HEADS),
    "CWM": twin("cwm", HEADS, HALF, tokenizer="llama3"),
    "Command R": twin("cohere", PLAIN, logit_scale=0.5),
    "Command R7B (Cohere 2)": twin("cohere2", HEADS, MOST, rotary_pct=1.0, logit_scale=0.5),
    "ERNIE 4.5": twin("ernie4_5", HEADS),
    "EXAONE 4": twin("exaone4", PLAIN, MOST, sliding_window_pattern=None),
    "EXAONE 4, 64 layers": twin(
        "exaone4", PLAIN, WINDOW, num_hidden_layers=64, sliding_window_pattern=None,
        layer_types=(["sliding_attention"] * 3 + ["full_attention"]) * 16,
    ),
    "Falcon 7B": twin(
        "falcon", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, multi_query=True,
        new_decoder_architecture=False, parallel_attn=True, bias=False, alibi=False,
    ),
    "Falcon 40B": twin(
        "falcon", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_kv_heads=2,
        new_decoder_architecture=True, bias=False,
    ),
    "GLM-4 9B": twin("glm", HEADS, tokenizer="glm4"),
    "GLM-4-0414": twin("glm4", HEADS, tokenizer="glm4"),
    "Helium": twin("helium", HEADS),
    "Hunyuan dense": twin("hunyuan_v1_dense", HEADS),
    "HyperCLOVA X": twin("hyperclovax", HEADS),
    "Jais 2": twin("jais2", HEADS),
    "Nemotron (Minitron)": twin("nemotron", PLAIN, partial_rotary_factor=0.5),
    "NanoChat": twin("nanochat", PLAIN),
    "Seed-OSS, with its dropout": twin("seed_oss", HEADS),
    "Seed-OSS": twin("seed_oss", HEADS, attention_dropout=0.0, residual_dropout=0.0),
    "StableLM 2": twin("stablelm", PLAIN),
    "StableLM 2 12B": twin("stablelm", PLAIN, qk_layernorm=True, use_parallel_residual=True, use_qkv_bias=True),
    "StarCoder2": twin("starcoder2", PLAIN),
    "Persimmon": twin("persimmon", PLAIN),
    "BitNet": twin("bitnet", PLAIN),
    "DiffLlama": twin("diffllama", HEADS),
    "LFM3": twin("lfm3", HEADS, WINDOW),
    "MiniCPM3": twin("minicpm3", PLAIN, LATENT),
    "Youtu": twin("youtu", PLAIN, LATENT),
    "ModernBERT decoder": twin("modernbert-decoder", PLAIN, tokenizer="llama3", local_attention=24),
    "InternLM3": twin("internlm3", HEADS),
    "IQuest Coder": twin("iquestcoder", HEADS),
    "EXAONE 3.5": twin(
        "exaone", hidden_size=64, intermediate_size=128, num_layers=4, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024,
    ),
    "Doge": twin("doge", PLAIN),
    "Doge, long rows": twin("doge", PLAIN, keep_window_size=16),
    "Inkling": twin("inkling_text", HEADS),
}  # fmt: skip
EARLY: Mapping[str, Twin] = {
    "GPT-2": twin("gpt2", GPT2, NO_DROPOUT),
    "GPT-2, as published": Twin(text("gpt2", GPT2), CHATML, published={"n_ctx": 1024}),
    "GPT-BigCode": twin("gpt_bigcode", GPT2, NO_DROPOUT),
    "GPT-J": twin("gptj", GPT2, NO_DROPOUT, rotary_dim=8),
    "CodeGen": twin("codegen", GPT2, NO_DROPOUT, rotary_dim=8),
    "GPT-Neo": twin(
        "gpt_neo", hidden_size=64, num_layers=4, num_heads=4, attention_types=[[["global", "local"], 2]],
        window_size=24, max_position_embeddings=1024, resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0,
    ),
    "GPT-NeoX (Pythia)": twin("gpt_neox", PLAIN),
    "GPT-NeoX (Pythia), as published": Twin(text("gpt_neox", PLAIN), CHATML, published={"rotary_pct": 0.25}),
    "GPT-NeoX Japanese": twin(
        "gpt_neox_japanese", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_multiple_size=2,
        max_position_embeddings=1024, attention_dropout=0.0, hidden_dropout=0.0,
    ),
    "BLOOM": twin("bloom", hidden_size=64, n_layer=4, n_head=4),
    "BLOOM, with dropout": twin("bloom", hidden_size=64, n_layer=4, n_head=4, hidden_dropout=0.1),
    "MPT": twin("mpt", d_model=64, n_heads=4, n_layers=4, max_seq_len=1024),
    "OPT": twin("opt", PLAIN, ffn_dim=128, word_embed_proj_dim=64, dropout=0.0),
    "OPT, with its dropout": twin("opt", PLAIN, ffn_dim=128, word_embed_proj_dim=64),
    "XGLM": twin(
        "xglm", d_model=64, ffn_dim=128, num_layers=4, attention_heads=4, max_position_embeddings=1024, dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0,
    ),
    "BioGPT": twin(
        "biogpt", PLAIN, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, activation_dropout=0.0,
    ),
}  # fmt: skip
MIXTURES: Mapping[str, Twin] = {
    "Mixtral": twin("mixtral", HEADS, LOCAL, tokenizer="mistral_v3"),
    "Phi-3.5 MoE": twin("phimoe", PLAIN, LOCAL, tokenizer="phi3", router_jitter_noise=0.0),
    "OLMoE": twin("olmoe", PLAIN, EXPERTS, tokenizer="olmo3", num_key_value_heads=4, intermediate_size=32),
    "FlexOlmo": twin("flex_olmo", PLAIN, EXPERTS, tokenizer="olmo3", num_key_value_heads=4),
    "Granite MoE": twin("granitemoe", PLAIN, LOCAL, tokenizer="granite4"),
    "Granite MoE, shared": twin("granitemoeshared", PLAIN, LOCAL, tokenizer="granite4", shared_intermediate_size=32),
    "Granite MoE, windows": twin("granitemoe_swa", PLAIN, LOCAL, HALF, tokenizer="granite4"),
    "Qwen2 MoE": twin("qwen2_moe", PLAIN, EXPERTS, SHARED),
    "Qwen2 MoE, as published": Twin(
        text("qwen2_moe", PLAIN, EXPERTS, SHARED), CHATML,
        published={"sliding_window": 4096, "use_sliding_window": False},
    ),
    "DeepSeek-V2 Lite": twin(
        "deepseek_v2", PLAIN, LATENT, ROUTED, tokenizer="deepseek_v3", q_lora_rank=None, first_k_dense_replace=1,
        num_hidden_layers=27,
    ),
    "DeepSeek V3.2": twin(
        "deepseek_v32", PLAIN, LATENT, ROUTED, ONE_GROUP, INDEXER, tokenizer="deepseek_v3", first_k_dense_replace=1
    ),
    "DeepSeek V3.2, equal scores": twin(
        "deepseek_v32", PLAIN, LATENT, ROUTED, ONE_GROUP, INDEXER, tokenizer="deepseek_v3", first_k_dense_replace=1,
        index_n_heads=2,
    ),
    "DeepSeek V4": twin(
        "deepseek_v4", PLAIN, ROUTED, WINDOW, INDEXER, tokenizer="deepseek_v3", head_dim=32, num_key_value_heads=1,
        q_lora_rank=16, o_groups=2, o_lora_rank=8, hc_mult=2,
    ),
    "dots.llm1": twin("dots1", PLAIN, ROUTED, num_key_value_heads=4, first_k_dense_replace=1),
    "dots3": twin(
        "dots3_note_text", PLAIN, LATENT, ROUTED, ONE_GROUP, INDEXER, first_k_dense_replace=1
    ),
    "ERNIE 4.5 MoE": twin(
        "ernie4_5_moe", PLAIN, moe_intermediate_size=32, moe_k=2, moe_num_experts=4, moe_num_shared_experts=2
    ),
    "EXAONE MoE": twin("exaone_moe", PLAIN, EXPERTS, MOST, sliding_window_pattern=None),
    "GLM-5": twin(
        "glm_moe_dsa", PLAIN, LATENT, ROUTED, INDEXER, tokenizer="glm4", first_k_dense_replace=1
    ),
    "GLM-5, equal scores": twin(
        "glm_moe_dsa", PLAIN, LATENT, ROUTED, INDEXER, tokenizer="glm4", first_k_dense_replace=1, index_n_heads=2
    ),
    "Hunyuan MoE": twin("hunyuan_v1_moe", HEADS, num_experts=4, moe_topk=2),
    "Hy 3": twin("hy_v3", HEADS, EXPERTS),
    "Hy 4": twin("hy_v4", PLAIN, LATENT, ROUTED, INDEXER, first_k_dense_replace=1),
    "MiniMax M2": twin("minimax_m2", HEADS, LOCAL),
    "MiniMax M2, as published": twin("minimax_m2", HEADS, LOCAL, rotary_dim=16),
    "MiniMax M1": twin(
        "minimax", HEADS, LOCAL, layer_types=["linear_attention", "full_attention"] * 2, block_size=16
    ),
    "Mistral Small 4": twin("mistral4", PLAIN, LATENT, ROUTED, tokenizer="mistral_v7"),
    "AFMoE (Trinity)": twin("afmoe", HEADS, EXPERTS, MOST),
    "Laguna": twin("laguna", HEADS, EXPERTS, WINDOW, SHARED),
    "Mellum": twin("mellum", HEADS, EXPERTS, WINDOW),
    "Solar Open": twin("solar_open", HEADS, ROUTED),
    "MiMo V2 Flash": twin("mimo_v2_flash", HEADS, ROUTED, WINDOW, v_head_dim=16),
    "Cohere 2 MoE": twin("cohere2_moe", HEADS, MOST, num_experts=4, num_experts_per_tok=2),
    "LongCat Flash": twin(
        "longcat_flash", LATENT, hidden_size=64, num_layers=2, num_attention_heads=4, max_position_embeddings=1024,
        ffn_hidden_size=128, head_dim=8, moe_topk=2, n_routed_experts=4, zero_expert_num=2, expert_ffn_hidden_size=32,
    ),
    "JetMoE": twin(
        "jetmoe", LOCAL, attention_dropout=0.0, hidden_size=64, num_hidden_layers=4, num_key_value_heads=2,
        kv_channels=16, intermediate_size=64, max_position_embeddings=1024,
    ),
    "A.X K1": twin("axk1", PLAIN, LATENT, ROUTED, ONE_GROUP),
    "A.X K2": twin("axk2", PLAIN, LATENT, ROUTED, INDEXER),
    "ZAYA1": twin("zaya", HEADS, EXPERTS, num_experts_per_tok=1),
    "Flint": twin("flint", HEADS, EXPERTS, WINDOW, SHARED),
    "Sarvam MoE": twin("sarvam_moe", HEADS, EXPERTS, ONE_GROUP, num_shared_experts=1),
    "Sarvam MLA": twin("sarvam_mla", PLAIN, LATENT, ROUTED, ONE_GROUP),
    "Kolibri": twin("kolibri1", HEADS, LOCAL),
    "Beam": twin("beam", PLAIN, LATENT, ROUTED, ONE_GROUP),
    "Aria, text": twin("aria_text", HEADS, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1),
}  # fmt: skip
STATES: Mapping[str, Twin] = {
    # With its default of 0.1, random weights multiply each rounding: bf16 costs 7 nats at a token.
    "Mamba": twin("mamba", hidden_size=64, num_hidden_layers=4, state_size=16, initializer_range=0.02),
    "Mamba 2": twin(
        "mamba2", hidden_size=64, num_hidden_layers=4, num_heads=8, head_dim=16, state_size=16, n_groups=1,
        chunk_size=16,
    ),
    "Falcon Mamba": twin("falcon_mamba", hidden_size=64, num_hidden_layers=4, state_size=16),
    "Bamba": twin("bamba", PLAIN, MAMBA, attn_rotary_emb=8, attn_layer_indices=[1, 3]),
    "Bamba, whole heads turn": twin(
        "bamba", PLAIN, MAMBA, rope(partial_rotary_factor=1.0), attn_rotary_emb=16, attn_layer_indices=[1, 3]
    ),
    "Jamba": twin(
        "jamba", PLAIN, num_experts=4, num_experts_per_tok=2, attn_layer_period=2, attn_layer_offset=1,
        mamba_d_state=16,
    ),
    "Zamba": twin(
        "zamba", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
        attention_head_dim=32, intermediate_size=128, mamba_d_state=16, n_mamba_heads=2, attn_layer_period=2,
        attn_layer_offset=1,
        max_position_embeddings=1024, layers_block_type=["linear_attention", "hybrid"] * 2,
    ),
    "Zamba 2": twin(
        "zamba2", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=128, mamba_d_state=16, n_mamba_heads=8, mamba_ngroups=1, chunk_size=16,
        layers_block_type=["mamba", "hybrid"] * 2, max_position_embeddings=1024,
    ),
    "RecurrentGemma": twin(
        "recurrent_gemma", tokenizer="gemma", hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=128, lru_width=64, attention_window_size=24,
    ),
    "RWKV": twin("rwkv", hidden_size=64, num_hidden_layers=4, context_length=1024),
    "xLSTM": twin("xlstm", hidden_size=64, num_blocks=2, num_heads=4),
    "Kimi Linear": twin(
        "kimi_linear", PLAIN, LATENT, n_shared_experts=1, num_experts_per_tok=2, num_local_experts=4,
        moe_intermediate_size=32, q_lora_rank=None, linear_head_dim=16, linear_num_heads=4,
        layer_types=["linear_attention"] * 3 + ["full_attention"], mlp_layer_types=["dense", *["sparse"] * 3],
    ),
    "Ling 3": twin(
        "bailing_hybrid", HEADS, LATENT, ONE_GROUP, q_lora_rank=None, num_experts_per_tok=2, num_local_experts=4,
        moe_intermediate_size=32, layer_group_size=2, first_k_dense_replace=1,
    ),
    "OLMo Hybrid": twin(
        "olmo_hybrid", PLAIN, DELTA, tokenizer="olmo3", layer_types=["linear_attention", "full_attention"] * 2
    ),
    "Lara mini": twin("lara_mini", HEADS, DELTA, EXPERTS, SHARED),
    "Dory": twin("dory", HEADS, WINDOW, num_hidden_layers=6, n_input_layers=2, n_output_layers=2),
    "HRM text": twin("hrm_text", HEADS),
}  # fmt: skip
_SMOL, _INTERN, _LFM = (
    wrapped("smolvlm", text("llama", HEADS), PATCHES),
    wrapped("internvl", text("qwen2", PLAIN), {**TOWER, "image_size": [16, 16], "patch_size": [8, 8]}),
    wrapped(
        "lfm2_vl",
        text("lfm2", HEADS, layer_types=["conv", "full_attention"] * 2, block_auto_adjust_ff_dim=False),
        {"model_type": "siglip2_vision_model", **TOWER, "patch_size": 8, "num_patches": 16},
    ),
)


def _named(config: Config, tokenizer: str, architecture: str) -> Twin:
    """Return a twin whose text part names its class, as publishers write it and transformers 5 does not."""
    return Twin(config, tokenizer, published={"text_config": {"architectures": [architecture]}})


WITH_IMAGES: Mapping[str, Twin] = {
    "Qwen3.5, larger": Twin(
        wrapped(
            "qwen3_5",
            text(
                "qwen3_5_text", HEADS, DELTA,
                rope(partial_rotary_factor=0.25, mrope_section=[2, 1, 1], mrope_interleaved=True), head_dim=32,
                tie_word_embeddings=True, layer_types=["linear_attention"] * 3 + ["full_attention"],
            ),
            {**QWEN, "num_position_embeddings": 16}, tie_word_embeddings=True,
        ),
        CHATML,
    ),
    "Llama 4, larger": sees(
        "llama4", text("llama4_text", HEADS, num_local_experts=2, intermediate_size=32, intermediate_size_mlp=64),
        {**TOWER, "patch_size": 14, "image_size": 28, "vision_output_dim": 64, "projector_input_dim": 64,
         "projector_output_dim": 64},
        "llama4",
    ),
    "Gemma 4, larger": sees(
        "gemma4",
        text("gemma4_text", HEADS, HALF, global_head_dim=32, hidden_size_per_layer_input=0, tie_word_embeddings=True),
        {**TOWER, "num_key_value_heads": 2, "head_dim": 16, "patch_size": 4, "position_embedding_size": 16}, "gemma4",
    ),
    "Mistral Small 3, larger": sees("mistral3", text("mistral", HEADS), PIXTRAL, "mistral_v7"),
    "Qwen2-VL": sees(
        "qwen2_vl", text("qwen2_vl_text", PLAIN, MROPE),
        {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "patch_size": 8},
    ),
    "Qwen2.5-VL": sees("qwen2_5_vl", text("qwen2_5_vl_text", PLAIN, MROPE), {**QWEN, "fullatt_block_indexes": [0]}),
    "Qwen3-VL": sees("qwen3_vl", text("qwen3_vl_text", HEADS, INTERLEAVED), QWEN3),
    "Qwen3-VL MoE": sees("qwen3_vl_moe", text("qwen3_vl_moe_text", HEADS, EXPERTS, INTERLEAVED), QWEN3),
    "Gemma 3 4B": sees(
        "gemma3",
        text("gemma3_text", HEADS, WINDOW, query_pre_attn_scalar=16, num_hidden_layers=6,
             layer_types=["sliding_attention"] * 5 + ["full_attention"]),
        PATCHES, "gemma3", mm_tokens_per_image=4,
    ),
    "GLM-4.1V": sees(
        "glm4v", text("glm4v_text", PLAIN, rope(partial_rotary_factor=0.5, mrope_section=[1, 1, 2])),
        {**QWEN, "image_size": 16}, "glm4",
    ),
    "GLM-4.5V": sees(
        "glm4v_moe", text("glm4v_moe_text", HEADS, ROUTED, MROPE, first_k_dense_replace=1),
        {**QWEN, "image_size": 16}, "glm4",
    ),
    "GLM-4.6V": sees(
        "glm46v", text("glm4v_text", PLAIN, rope(partial_rotary_factor=0.5, mrope_section=[1, 1, 2])),
        {"model_type": "glm4v_vision", **QWEN, "image_size": 16}, "glm4",
    ),
    "GLM-OCR": sees(
        "glm_ocr", text("glm_ocr_text", HEADS, rope(partial_rotary_factor=0.5, mrope_section=[1, 1, 2])),
        {**QWEN, "image_size": 16}, "glm4",
    ),
    "InternVL": Twin(_INTERN, CHATML),
    "InternVL, as published": _named(_INTERN, CHATML, "Qwen2ForCausalLM"),
    "LLaVA": sees("llava", text("llama", HEADS), CLIP, "llama3"),
    "LLaVA-NeXT": sees("llava_next", text("llama", HEADS), CLIP, "llama3"),
    "LLaVA-OneVision": sees("llava_onevision", text("qwen2", PLAIN), SIGLIP),
    "Vip-LLaVA": sees("vipllava", text("llama", HEADS), CLIP, "llama3", vision_feature_layers=[0]),
    "Pixtral 12B": sees("llava", text("mistral", HEADS), {**PIXTRAL, "image_size": 16, "patch_size": 8}, "mistral_v7"),
    "Idefics 2": sees("idefics2", text("mistral", HEADS), PATCHES),
    "Idefics 3": sees("idefics3", text("llama", HEADS), PATCHES),
    "SmolVLM": Twin(_SMOL, CHATML),
    "SmolVLM, as published": _named(_SMOL, CHATML, "LlamaForCausalLM"),
    "PaliGemma": sees(
        "paligemma", text("gemma2", HEADS, HALF, query_pre_attn_scalar=16), {**SIGLIP, "projection_dim": 64}, "gemma",
        projection_dim=64,
    ),
    "Aya Vision": sees("aya_vision", text("cohere2", HEADS, MOST), SIGLIP),
    "Command A Vision": sees("cohere2_vision", text("cohere2", HEADS, MOST), SIGLIP),
    "LFM2-VL": Twin(_LFM, "lfm2"),
    "LFM2-VL, as published": _named(_LFM, "lfm2", "Lfm2ForCausalLM"),
    "Llama 3.2 Vision": sees(
        "mllama", text("mllama_text_model", PLAIN, cross_attention_layers=[1, 3]),
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_global_layers": 1,
         "attention_heads": 2, "image_size": 16, "patch_size": 8, "vision_output_dim": 64,
         "intermediate_layers_indices": [0], "max_num_tiles": 1, "supported_aspect_ratios": [[1, 1]]},
        "llama3",
    ),
    "Voxtral": sees(
        "voxtral", text("llama", HEADS), None, "mistral_v7", audio_config={**TOWER, "num_mel_bins": 16}
    ),
    "Qwen2-Audio": sees("qwen2_audio", text("qwen2", PLAIN), None, audio_config=SOUND),
    "Gemma 4 unified": sees(
        "gemma4_unified", text("gemma4_unified_text", HEADS, HALF, global_head_dim=32), {}, "gemma4"
    ),
    "DeepSeek-VL": sees("deepseek_vl", text("llama", HEADS), SIGLIP),
    "ERNIE 4.5 VL MoE": sees(
        "ernie4_5_vl_moe",
        text("ernie4_5_vl_moe_text", PLAIN, rope(mrope_section=[3, 3, 2]), moe_intermediate_size=[32, 32], moe_k=2,
             moe_num_experts=4, moe_num_shared_experts=1),
        {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8},
    ),
    "EXAONE 4.5": sees("exaone4_5", text("exaone4", PLAIN, MOST, sliding_window_pattern=None), QWEN),
    "MiniMax M3": sees("minimax_m3_vl", text("minimax_m3_vl_text", HEADS, LOCAL), TOWER),
    "Qwen4, experimental": sees(
        "qwen4_exp",
        text("qwen4_exp_text", HEADS, DELTA, EXPERTS, SHARED, hc_count=2, hc_lowrank=8, ngram_vocab_size_base=200,
             make_ngram_vocab_size_divisible_by=8, split_ngram_parts=2, heads_per_ngram=2, ple_embed_dim=16,
             indexer_n_heads=2, indexer_kv_heads=1, indexer_head_dim=16, indexer_budget=32, indexer_compress_ratio=2),
        {**QWEN, "num_position_embeddings": 16},
    ),
    "Phi-4 multimodal": Twin(
        text(
            "phi4_multimodal", PLAIN, original_max_position_embeddings=1024,
            vision_config={**PATCHES, "crop_size": 16},
            audio_config={"hidden_size": 32, "intermediate_size": 64, "num_blocks": 1, "num_attention_heads": 2,
                          "ext_pw_out_channel": 32, "nemo_conv_channels": 32, "input_size": 16},
        ),
        "phi4",
    ),
    "Aria": sees(
        "aria", text("aria_text", HEADS, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1),
        {"model_type": "idefics3_vision", **PATCHES},
    ),
    "LightOnOCR": sees("lighton_ocr", text("qwen3", HEADS), PIXTRAL),
    "Ovis 2": sees("ovis2", text("qwen2", PLAIN), PATCHES),
    "FastVLM": sees("fast_vlm", text("qwen2", PLAIN), SIGLIP),
    "VideoLLaMA 3": sees("video_llama_3", text("qwen2", PLAIN), TOWER),
    "LFM3-VL": sees("lfm3_vl", text("lfm3", HEADS, WINDOW), TOWER),
    "Mistral Large 4": sees(
        "mistral_large4", text("mistral_large4_text", PLAIN, LATENT, ROUTED, INDEXER), PIXTRAL, "mistral_v7"
    ),
    "Step 3.7": sees("step3p7", text("step3p7_text", HEADS, EXPERTS), TOWER),
    "Kimi K2.5": sees("kimi_k25", text("deepseek_v3", PLAIN, LATENT, ROUTED, ONE_GROUP), TOWER),
    "GOT-OCR 2": sees("got_ocr2", text("qwen2", PLAIN), TOWER),
}  # fmt: skip
FAMILIES: Mapping[str, Twin] = {**DENSE, **EARLY, **MIXTURES, **STATES, **WITH_IMAGES}
