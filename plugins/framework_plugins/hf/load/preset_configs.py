"""What config.json says of the sizes of the models in conf/model, for a plan without a network.

The comment of each says where its numbers were read: a file of a public repository, a page, or the defaults of the
class in transformers 5.24 that name the model. A test builds each class without weights and compares its parameters
with what the memory plan counts, and with what the publisher states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LINEAR, FULL, WINDOW, CONV = "linear_attention", "full_attention", "sliding_attention", "conv"


def _llama(family: str, name: str, **sizes: Any) -> dict[str, Any]:
    return {"architectures": [name], "model_type": family, **sizes}


def _qwen3_5(hidden: int, inner: int, layers: int, heads: tuple[int, int, int], *, tied: bool) -> dict[str, Any]:
    """Return Qwen3.5: heads of attention, of its keys, and of the values of linear attention."""
    text = {
        "model_type": "qwen3_5_text", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads[0], "num_key_value_heads": heads[1], "head_dim": 256, "vocab_size": 248320,
        "linear_num_key_heads": 16, "linear_num_value_heads": heads[2], "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "layer_types": [*[LINEAR] * 3, FULL] * (layers // 4),
        "tie_word_embeddings": tied,
    }  # fmt: skip
    return {
        "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5", "tie_word_embeddings": tied,
        "text_config": text,
    }  # fmt: skip


def _gemma4(text: Mapping[str, Any], vision: tuple[int, int, int], *, sound: bool = False) -> dict[str, Any]:
    """Return Gemma 4: features, inner features and layers of its part for images."""
    hidden, inner, layers = vision
    parts = {
        "vision_config": {
            "model_type": "gemma4_vision", "hidden_size": hidden, "intermediate_size": inner,
            "num_hidden_layers": layers,
        },
        "audio_config": {"model_type": "gemma4_audio", "hidden_size": 1024, "num_hidden_layers": 12} if sound else None,
    }  # fmt: skip
    shared = {"model_type": "gemma4_text", "vocab_size": 262144, "head_dim": 256, "global_head_dim": 512,
              "tie_word_embeddings": True}  # fmt: skip
    return {
        "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "tie_word_embeddings": True,
        "text_config": {**shared, **text}, **parts,
    }  # fmt: skip


def _mistral3(*, tied: bool, **text: Any) -> dict[str, Any]:
    vision = {"model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    return {
        "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "tie_word_embeddings": tied,
        "text_config": {**text, "vocab_size": 131072, "num_attention_heads": 32, "num_key_value_heads": 8,
                        "head_dim": 128, "tie_word_embeddings": tied}, "vision_config": vision,
    }  # fmt: skip


CONFIGS: Mapping[str, Mapping[str, Any]] = {
    # Llama, Mistral 7B, Phi-4 mini, Qwen3 4B and 8B, Gemma 3 4B: the config.json of each on the Hub.
    "unsloth/Llama-3.2-1B-Instruct": _llama(
        "llama", "LlamaForCausalLM", hidden_size=2048, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, intermediate_size=8192, vocab_size=128256, tie_word_embeddings=True,
    ),
    "unsloth/Llama-3.2-3B-Instruct": _llama(
        "llama", "LlamaForCausalLM", hidden_size=3072, num_hidden_layers=28, num_attention_heads=24,
        num_key_value_heads=8, head_dim=128, intermediate_size=8192, vocab_size=128256, tie_word_embeddings=True,
    ),
    "unsloth/Meta-Llama-3.1-8B-Instruct": _llama(
        "llama", "LlamaForCausalLM", hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, intermediate_size=14336, vocab_size=128256, tie_word_embeddings=False,
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": _llama(
        "mistral", "MistralForCausalLM", hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, intermediate_size=14336, vocab_size=32768, tie_word_embeddings=False,
        sliding_window=None,
    ),
    "microsoft/Phi-4-mini-instruct": _llama(
        "phi3", "Phi3ForCausalLM", hidden_size=3072, num_hidden_layers=32, num_attention_heads=24,
        num_key_value_heads=8, intermediate_size=8192, vocab_size=200064, tie_word_embeddings=True,
        sliding_window=262144, pad_token_id=199999,
    ),
    "Qwen/Qwen3-4B-Instruct-2507": _llama(
        "qwen3", "Qwen3ForCausalLM", hidden_size=2560, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, intermediate_size=9728, vocab_size=151936, tie_word_embeddings=True,
    ),
    "Qwen/Qwen3-8B": _llama(
        "qwen3", "Qwen3ForCausalLM", hidden_size=4096, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, intermediate_size=12288, vocab_size=151936, tie_word_embeddings=False,
    ),
    "unsloth/gemma-3-4b-it": {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "tie_word_embeddings": True,
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 10240, "vocab_size": 262208,
            "sliding_window": 1024,
        },
        "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "num_hidden_layers": 27,
                          "intermediate_size": 4304},
    },
    # THUDM/slime at 624b824a, scripts/models/qwen3.5-4B.sh, -9B.sh; their heads of linear attention: the defaults of
    # Qwen3_5TextConfig.
    "Qwen/Qwen3.5-4B": _qwen3_5(2560, 9216, 32, (16, 4, 32), tied=True),
    "Qwen/Qwen3.5-9B": _qwen3_5(4096, 12288, 32, (16, 4, 32), tied=False),
    # ai-dynamo/aiconfigurator at 095f58a5, aic-core/src/aiconfigurator_core/model_configs/: Qwen--Qwen3.5-27B,
    # nvidia--Qwen3.6-27B-NVFP4, Qwen--Qwen3.5-35B-A3B, Qwen--Qwen3-30B-A3B, openai--gpt-oss-20b,
    # nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16, google--gemma-4-26B-A4B, nvidia--Gemma-4-31B-IT-NVFP4.
    "Qwen/Qwen3.5-27B": _qwen3_5(5120, 17408, 64, (24, 4, 48), tied=False),
    "Qwen/Qwen3.6-27B": _qwen3_5(5120, 17408, 64, (24, 4, 48), tied=False),
    "Qwen/Qwen3.5-35B-A3B": {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"], "model_type": "qwen3_5_moe",
        "tie_word_embeddings": False,
        "text_config": {
            "model_type": "qwen3_5_moe_text", "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
            "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 248320, "linear_num_key_heads": 16,
            "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
            "linear_conv_kernel_dim": 4, "layer_types": [*[LINEAR] * 3, FULL] * 10, "num_experts": 256,
            "num_experts_per_tok": 8, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
            "tie_word_embeddings": False,
        },
    },
    "Qwen/Qwen3-30B-A3B": _llama(
        "qwen3_moe", "Qwen3MoeForCausalLM", hidden_size=2048, num_hidden_layers=48, num_attention_heads=32,
        num_key_value_heads=4, head_dim=128, intermediate_size=6144, vocab_size=151936, tie_word_embeddings=False,
        num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1, norm_topk_prob=True,
    ),
    # A copy of openai/gpt-oss-20b in 16 bits: the original is in MXFP4, which is not trained.
    "unsloth/gpt-oss-20b-BF16": _llama(
        "gpt_oss", "GptOssForCausalLM", hidden_size=2880, num_hidden_layers=24, num_attention_heads=64,
        num_key_value_heads=8, head_dim=64, intermediate_size=2880, vocab_size=201088, tie_word_embeddings=False,
        num_local_experts=32, num_experts_per_tok=4, sliding_window=128, layer_types=[WINDOW, FULL] * 12,
    ),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": _llama(
        "nemotron_h", "NemotronHForCausalLM", hidden_size=2688, num_attention_heads=32, num_key_value_heads=2,
        head_dim=128, intermediate_size=1856, vocab_size=131072, tie_word_embeddings=False, mamba_num_heads=64,
        mamba_head_dim=64, ssm_state_size=128, n_groups=8, conv_kernel=4, chunk_size=128, n_routed_experts=128,
        n_shared_experts=1, num_experts_per_tok=6, moe_intermediate_size=1856,
        moe_shared_expert_intermediate_size=3712,
        hybrid_override_pattern="MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    ),
    "google/gemma-4-26B-A4B-it": _gemma4({
        "hidden_size": 2816, "num_hidden_layers": 30, "num_attention_heads": 16, "num_key_value_heads": 8,
        "num_global_key_value_heads": 2, "attention_k_eq_v": True, "intermediate_size": 2112, "sliding_window": 1024,
        "hidden_size_per_layer_input": 0, "enable_moe_block": True, "num_experts": 128, "top_k_experts": 8,
        "moe_intermediate_size": 704, "layer_types": [*[WINDOW] * 5, FULL] * 5,
    }, (1152, 4304, 27)),
    "google/gemma-4-31B-it": _gemma4({
        "hidden_size": 5376, "num_hidden_layers": 60, "num_attention_heads": 32, "num_key_value_heads": 16,
        "num_global_key_value_heads": 4, "attention_k_eq_v": True, "intermediate_size": 21504, "sliding_window": 1024,
        "hidden_size_per_layer_input": 0, "layer_types": [*[WINDOW] * 5, FULL] * 10,
    }, (1152, 4304, 27)),
    # AI-Hypercomputer/maxtext at e591f30c, src/maxtext/configs/models/: gemma4-e2b.yml, gemma4-e4b.yml, olmo3-7b.yml.
    # The part for sound, and which layers see all tokens: Gemma4AudioConfig, and the pattern of 5 and of 6 layers.
    "google/gemma-4-E2B-it": _gemma4({
        "hidden_size": 1536, "num_hidden_layers": 35, "num_attention_heads": 8, "num_key_value_heads": 1,
        "intermediate_size": 6144, "sliding_window": 512, "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262144, "num_kv_shared_layers": 20, "use_double_wide_mlp": True,
        "layer_types": [*[WINDOW] * 4, FULL] * 7,
    }, (768, 3072, 16), sound=True),
    "google/gemma-4-E4B-it": _gemma4({
        "hidden_size": 2560, "num_hidden_layers": 42, "num_attention_heads": 8, "num_key_value_heads": 2,
        "intermediate_size": 10240, "sliding_window": 512, "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262144, "num_kv_shared_layers": 18, "layer_types": [*[WINDOW] * 5, FULL] * 7,
    }, (768, 3072, 16), sound=True),
    "allenai/Olmo-3-7B-Instruct": _llama(
        "olmo3", "Olmo3ForCausalLM", hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=32, intermediate_size=11008, vocab_size=100278, tie_word_embeddings=False,
        sliding_window=4096, layer_types=[*[WINDOW] * 3, FULL] * 8,
    ),
    # The defaults of Glm4MoeLiteConfig, and THUDM/slime at 624b824a, scripts/models/glm4.7-30B-A3B.sh.
    "zai-org/GLM-4.7-Flash": _llama(
        "glm4_moe_lite", "Glm4MoeLiteForCausalLM", hidden_size=2048, num_hidden_layers=47, num_attention_heads=20,
        num_key_value_heads=20, intermediate_size=10240, vocab_size=154880, tie_word_embeddings=False,
        kv_lora_rank=512, q_lora_rank=768, qk_rope_head_dim=64, qk_nope_head_dim=192, v_head_dim=256,
        n_routed_experts=64, n_shared_experts=1, num_experts_per_tok=4, moe_intermediate_size=1536,
        mlp_layer_types=["dense", *["sparse"] * 46],
    ),
    # The defaults of MuseGlimmerTextConfig and MuseGlimmerVisionConfig.
    "meta-models/Muse-Glimmer-30B": {
        "architectures": ["MuseGlimmerForConditionalGeneration"], "model_type": "muse_glimmer",
        "tie_word_embeddings": False,
        "text_config": {
            "model_type": "muse_glimmer_text", "hidden_size": 6656, "intermediate_size": 19968,
            "num_hidden_layers": 52, "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128,
            "vocab_size": 202048, "tie_word_embeddings": False, "sliding_window": 2048,
            "layer_types": [*[WINDOW] * 3, FULL] * 13,
        },
        "vision_config": {"model_type": "muse_glimmer_vision", "hidden_size": 1536, "intermediate_size": 8960,
                          "num_hidden_layers": 50},
    },
    # 8B: the defaults of Ministral3Config. Layers, features and parameters of 3B (3.4B and 0.4B for images, which the
    # numbers give with the output head tied): docs.nvidia.com/nemo/megatron-bridge, vlm/ministral3. Those of 14B, with
    # features inside the MLP: apxml.com/models/ministral-3-14b. The copies are in 16 bits, the originals in FP8.
    "unsloth/Ministral-3-3B-Instruct-2512": _mistral3(
        tied=True, model_type="ministral3", hidden_size=3072, intermediate_size=9216, num_hidden_layers=26
    ),
    "unsloth/Ministral-3-8B-Instruct-2512": _mistral3(
        tied=False, model_type="ministral3", hidden_size=4096, intermediate_size=14336, num_hidden_layers=34
    ),
    "unsloth/Ministral-3-14B-Instruct-2512": _mistral3(
        tied=False, model_type="ministral3", hidden_size=5120, intermediate_size=16384, num_hidden_layers=40
    ),
    # The text part that Mistral3Config has by default.
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506": _mistral3(
        tied=False, model_type="mistral", hidden_size=5120, intermediate_size=32768, num_hidden_layers=40
    ),
    # LFM2.5: the model card (16 layers, 10 of them convolutions, 65,536 tokens), and config.json in tests of public
    # implementations; 8B: that of LFM2-8B-A1B, the same way.
    "LiquidAI/LFM2.5-1.2B-Instruct": _llama(
        "lfm2", "Lfm2ForCausalLM", hidden_size=2048, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, block_ff_dim=12288, block_auto_adjust_ff_dim=True, block_ffn_dim_multiplier=1.0,
        block_multiple_of=256, conv_L_cache=3, vocab_size=65536, tie_embedding=True,
        layer_types=[FULL if layer in {2, 5, 8, 10, 12, 14} else CONV for layer in range(16)],
    ),
    "LiquidAI/LFM2.5-350M": _llama(
        "lfm2", "Lfm2ForCausalLM", hidden_size=1024, num_hidden_layers=16, num_attention_heads=16,
        num_key_value_heads=8, block_ff_dim=6656, block_auto_adjust_ff_dim=True, block_ffn_dim_multiplier=1.0,
        block_multiple_of=256, conv_L_cache=3, vocab_size=65536, tie_embedding=True,
        layer_types=[FULL if layer in {2, 5, 8, 10, 12, 14} else CONV for layer in range(16)],
    ),
    "LiquidAI/LFM2-8B-A1B": _llama(
        "lfm2_moe", "Lfm2MoeForCausalLM", hidden_size=2048, num_hidden_layers=24, num_attention_heads=32,
        num_key_value_heads=8, intermediate_size=7168, moe_intermediate_size=1792, num_dense_layers=2, num_experts=32,
        num_experts_per_tok=4, conv_L_cache=3, vocab_size=65536, tie_word_embeddings=True,
        layer_types=[FULL if layer in {2, 6, 10, 14, 18, 21} else CONV for layer in range(24)],
    ),
    # Granite-4.0-H-Tiny and -1B: config.json in tests of a public simulator, which reads the published files.
    "ibm-granite/granite-4.0-h-tiny": _llama(
        "granitemoehybrid", "GraniteMoeHybridForCausalLM", hidden_size=1536, num_hidden_layers=40,
        num_attention_heads=12, num_key_value_heads=4, intermediate_size=512, shared_intermediate_size=1024,
        num_local_experts=64, num_experts_per_tok=6, vocab_size=100352, tie_word_embeddings=True, mamba_d_state=128,
        mamba_n_groups=1, mamba_n_heads=48, mamba_d_head=64, mamba_expand=2, mamba_d_conv=4, mamba_chunk_size=256,
        layer_types=[FULL if layer in {5, 15, 25, 35} else "mamba" for layer in range(40)],
    ),
    "ibm-granite/granite-4.0-h-1b": _llama(
        "granitemoehybrid", "GraniteMoeHybridForCausalLM", hidden_size=1536, num_hidden_layers=40,
        num_attention_heads=12, num_key_value_heads=4, intermediate_size=4096, shared_intermediate_size=4096,
        num_local_experts=0, num_experts_per_tok=0, vocab_size=100352, tie_word_embeddings=True, mamba_d_state=128,
        mamba_n_groups=1, mamba_n_heads=48, mamba_d_head=64, mamba_expand=2, mamba_d_conv=4, mamba_chunk_size=256,
        layer_types=[FULL if layer in {5, 15, 25, 35} else "mamba" for layer in range(40)],
    ),
    # Phi-4: config.json in tests of a public implementation.
    "microsoft/phi-4": _llama(
        "phi3", "Phi3ForCausalLM", hidden_size=5120, num_hidden_layers=40, num_attention_heads=40,
        num_key_value_heads=10, intermediate_size=17920, vocab_size=100352, tie_word_embeddings=False,
        pad_token_id=100257, sliding_window=None,
    ),
}  # fmt: skip
"""By the id on the Hub."""
