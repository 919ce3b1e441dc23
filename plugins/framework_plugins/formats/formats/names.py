"""Which fields each format reads, and which of them show that a row has it.

A name in `format.columns` that is none of these does nothing, so it is refused before a run.
"""

from __future__ import annotations

QUESTION = ("instruction", "input", "history")
ASKED = ("question", "query", "input")
"""What asks in preference pairs without a prompt or an instruction, such as those of orca_dpo_pairs."""
DIALOGUE = ("messages", "conversations", "conversation")
SPOKEN = ("conversations", "conversation", "messages")
"""The same fields, in the order in which turns with from and value are met in them."""
SHARED = ("system", "system_prompt", "tools", "functions")
"""What a row may say besides its turns; plain text has no place for it."""

LABELS = ("label", "kto_tag")
"""Fields in which data for KTO say whether an answer is wanted; LLaMA-Factory has the second name."""

READS: dict[str, tuple[str, ...]] = {
    "alpaca": (*QUESTION, "output", *LABELS, *SHARED),
    "chatml": (*DIALOGUE, *LABELS, *SHARED),
    "sharegpt": (*DIALOGUE, *LABELS, *SHARED),
    "prompt_completion": ("prompt", "completion", *LABELS, *SHARED),
    "preference": ("chosen", "rejected", "prompt", *QUESTION, *ASKED[:2], *SPOKEN[:2], *SHARED),
    "text": ("text",),
}

NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "alpaca": (("instruction",), ("output",)),
    "chatml": (DIALOGUE,),
    "sharegpt": (SPOKEN,),
    "prompt_completion": (("prompt",), ("completion",)),
    "preference": (("chosen",), ("rejected",)),
    "text": (("text",),),
}
"""One of each group of names is needed."""

BESIDE_TEXT = frozenset({
    *DIALOGUE, "instruction", "output", "prompt", "completion", "chosen", "rejected", "labels", *LABELS,
    "question", "answer", "answers", "query", "response", "target", "summary", "context", "code", "solution",
})  # fmt: skip
"""With one of these a row is more than plain text: `format=auto` does not take its `text` alone."""
