"""Which fields each format reads, and which of them show that a row has it.

A name in `format.columns` that is none of these does nothing, so it is refused before a run.
"""

from __future__ import annotations

ALPACA_QUESTION = ("instruction", "input", "history")
PREFERENCE_QUESTION = ("question", "query", "input")
"""What asks in preference pairs without a prompt or an instruction, such as those of orca_dpo_pairs."""
DIALOGUE_FIELDS = ("messages", "conversations", "conversation")
SHAREGPT_FIELDS = ("conversations", "conversation", "messages")
"""The same fields, in the order in which turns with from and value are met in them."""
SHARED_FIELDS = ("system", "system_prompt", "tools", "functions")
"""What a row may say besides its turns; plain text has no place for it."""

LABEL_FIELDS = ("label", "kto_tag", "desirable", "thumbs_up", "thumbs")
"""Fields in which data for KTO say whether an answer is wanted; LLaMA-Factory has the second name."""
JUDGED_FIELDS = (
    "response_0", "response_1", "better_response_id", "safer_response_id", "response1", "response2",
    "overall_preference", "human_ref_A", "human_ref_B", "labels", "conversation_a", "conversation_b", "winner",
)  # fmt: skip
"""What two answers to one question are called, and what says which of them is better."""
RANKED_FIELDS = ("answers", "completions", "responses")
"""Lists of answers that have ranks or scores."""

READS: dict[str, tuple[str, ...]] = {
    "alpaca": (*ALPACA_QUESTION, "output", *LABEL_FIELDS, *SHARED_FIELDS),
    "chatml": (*DIALOGUE_FIELDS, *LABEL_FIELDS, *SHARED_FIELDS),
    "sharegpt": (*DIALOGUE_FIELDS, *LABEL_FIELDS, *SHARED_FIELDS),
    "prompt_completion": ("prompt", "completion", *LABEL_FIELDS, *SHARED_FIELDS),
    "preference": (
        "chosen",
        "rejected",
        "prompt",
        *ALPACA_QUESTION,
        *PREFERENCE_QUESTION[:2],
        *SHAREGPT_FIELDS[:2],
        "preferred_output",
        "non_preferred_output",
        "context",
        *JUDGED_FIELDS,
        *RANKED_FIELDS,
        *SHARED_FIELDS,
    ),
    "text": ("text",),
}
READS["unpaired"] = tuple(
    dict.fromkeys(name for form in ("alpaca", "chatml", "sharegpt", "prompt_completion") for name in READS[form])
)

NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "alpaca": (("instruction",), ("output",)),
    "chatml": (DIALOGUE_FIELDS,),
    "sharegpt": (SHAREGPT_FIELDS,),
    "prompt_completion": (("prompt",), ("completion",)),
    "preference": (("chosen",), ("rejected",)),
    "text": (("text",),),
}
"""One of each group of names is needed."""

BESIDE_TEXT = frozenset({
    *DIALOGUE_FIELDS, "instruction", "output", "prompt", "completion", "chosen", "rejected", "labels", *LABEL_FIELDS,
    "question", "answer", "answers", "query", "response", "target", "summary", "context", "code", "solution",
})  # fmt: skip
"""With one of these a row is more than plain text: `format=auto` does not take its `text` alone."""
