"""Fields of TRL's DPOConfig, KTOConfig, GRPOConfig, CPOConfig and ORPOConfig that are not settings of the same name.

Those that SFTConfig has too are in `hf/settings/library_fields.py`. A test reads the fields of the installed TRL and
checks that each is one of these, or a setting of the method; `python -m tests.support.library_fields` writes
docs/reference/trl-fields.md from all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

MOVES = "the reference is the model that the training starts from, and stays as it is"
DISTRIBUTION = "it needs the whole distribution at each token: write a loss with @loss(of_logits=[…])"
DRAWS = "answers are drawn with method.temperature and method.top_p, whose log-probabilities the training computes too"
OWN_VLLM = "rollout=vllm leaves it as vLLM has it"
NO_SERVER = "rollout=vllm draws in the process of the training"
SHOWN = "log.jsonl, the page and the trackers show some answers of each logged step: logger"
OTHER_LOSS = "method.loss_type has dapo, bnpo, dr_grpo and grpo"
ONE_BY_ONE = "evaluators answer prompts before and after the training: evaluator"
SETTINGS: Mapping[str, str] = {
    "max_completion_length": "trainer.max_seq_length", "generation_batch_size": "method.steps_per_generation",
    "chat_template_kwargs": "model.thinking", "use_vllm": "rollout=vllm",
    "vllm_gpu_memory_utilization": "rollout.gpu_memory_utilization",
    "vllm_importance_sampling_correction": "rollout.importance_sampling_mode",
    "vllm_importance_sampling_mode": "rollout.importance_sampling_mode",
    "vllm_importance_sampling_clip_max": "rollout.importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min": "rollout.importance_sampling_clip_min",
    "vllm_importance_sampling_cap": "rollout.importance_sampling_clip_max",
    "use_transformers_continuous_batching": "rollout=continuous",
    "transformers_continuous_batching_config": "rollout.max_memory_percent",
    "use_transformers_paged": "rollout=continuous",
    "reward_weights": "reward.NAME.weight", "simpo_gamma": "method.simpo_gamma of method=simpo",
    "log_completions": "logger", "disable_dropout": "adapter.lora_dropout=0",
}  # fmt: skip
"""What settings of ours are."""
REASONS: Mapping[str, str] = {
    **dict.fromkeys(("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"), MOVES),
    "precompute_ref_log_probs": "the reference is always scored before the first step, and kept for other runs",
    "precompute_ref_batch_size": "the reference is scored in the passes of the training: trainer.tokens_per_pass",
    "use_weighting": f"WPO: {DISTRIBUTION}",
    **dict.fromkeys(
        ("top_entropy_quantile", "entropy_coef", "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max",
         "entropy_coef_delta", "entropy_target"),
        DISTRIBUTION,
    ),
    **dict.fromkeys(
        ("top_k", "min_p", "repetition_penalty", "generation_kwargs", "cache_implementation"), DRAWS
    ),
    **dict.fromkeys(
        ("vllm_model_impl", "vllm_enable_sleep_mode", "vllm_structured_outputs_regex", "vllm_max_model_length",
         "vllm_tensor_parallel_size"),
        OWN_VLLM,
    ),
    **dict.fromkeys(
        ("vllm_mode", "vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout",
         "vllm_group_port"),
        NO_SERVER,
    ),
    **dict.fromkeys(
        ("delta", "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg",
         "vespo_lambda_neg"),
        OTHER_LOSS,
    ),
    **dict.fromkeys(("num_completions_to_print", "log_unique_prompts", "log_completions_hub_repo"), SHOWN),
    **dict.fromkeys(("num_generations_eval", "generate_during_eval"), ONE_BY_ONE),
    "log_multimodal": "a row has texts only",
    "is_encoder_decoder": "a model has a decoder only",
    "padding_value": "the tokenizer says with what rows are padded",
    "cast_lm_head_to_fp32": "log-probabilities are computed in fp32 from the logits, in any trainer.dtype",
    "ds3_gather_for_generation": "there is no DeepSpeed: launch=ddp or launch=fsdp2",
    "multi_objective_aggregation": "rewards are added, each times its weight, before they are compared",
    "off_policy_mask_threshold": "rollout.importance_sampling_mode corrects for answers of older weights",
    "use_bias_correction_kl": "the divergence is always multiplied by the ratio of the probabilities",
}  # fmt: skip
"""What is not offered, and why."""
WITHOUT_TRAINER = frozenset({"is_encoder_decoder", "padding_value", "generate_during_eval"})
"""Fields that only CPO and ORPO have, whose trainers `trainer=trl` refuses."""
INSTEAD: Mapping[str, str] = {
    **{name: f"is {'' if '=' in key else 'called '}{key} here" for name, key in SETTINGS.items()},
    **{
        name: f"is not used here: {reason}"
        + ("" if name in WITHOUT_TRAINER else f"; trainer=trl has it as trainer.args.{name}")
        for name, reason in REASONS.items()
    },
}
"""What each of them is here, as the rest of a sentence."""
