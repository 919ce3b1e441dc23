"""One answer, token by token, as text that can be shown at once.

Each token is a `generate` of one token more, with the keys and values of those before it: what a model's own settings
do to the probabilities, a penalty for repetition for example, is done here as in an answer made in one go. Nothing runs
beside the caller and nothing is held between two tokens, so an answer can be left at any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from framework import FrameworkError
from framework.api import is_out_of_memory, summarize_error
from framework_plugins.hf.generate.generate import keys_and_values, likeliest
from framework_plugins.lib.sampling import Sampler
from framework_plugins.lib.thoughts import without_thought

REPLACEMENT_CHARACTER = "\ufffd"
"""What a decoder gives for the bytes of a letter that is not whole."""


def stream(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    stop_ids: frozenset[int],
    max_new_tokens: int,
    choose: Sampler,
) -> Iterator[str]:
    """Answer a tokenized prompt; a piece for each token, empty if there is nothing to show yet."""
    tokens = _tokens(model, list(ids), stop_ids, max_new_tokens, choose, int(tokenizer.pad_token_id))
    return without_thought(texts(lambda answer: str(tokenizer.decode(answer, skip_special_tokens=True)), tokens))


def texts(decode: Callable[[list[int]], str], tokens: Iterable[int]) -> Iterator[str]:
    """Give what each token adds to the text; letters come when they are whole.

    All tokens are decoded each time: what the last of them look like depends on those before, and that is quick.
    """
    ids: list[int] = []
    text = ""
    for token in tokens:
        ids.append(token)
        decoded = decode(ids).rstrip(REPLACEMENT_CHARACTER)
        # Bytes of a letter that is not whole may hide the letters before it for as long.
        addition = decoded[len(text) :] if decoded.startswith(text) else ""
        text += addition
        yield addition
    final_text = decode(ids)
    if final_text.startswith(text) and final_text != text:
        yield final_text[len(text) :]


def _tokens(
    model: Any, ids: list[int], stop_ids: frozenset[int], limit: int, choose: Sampler, pad_id: int
) -> Iterator[int]:
    """Give the tokens of an answer, without the one that ends it.

    Raises:
        FrameworkError: memory runs out.
    """
    settings = likeliest(1, stop_ids, pad_id, output_scores=True, return_dict_in_generate=True)
    cache: Mapping[str, Any] = {}
    for _ in range(limit):
        try:
            scores, cache = _step(model, ids, cache, settings)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise FrameworkError(
                f"out of memory with a conversation of {len(ids)} tokens: begin another one. {summarize_error(error)}"
            ) from error
        token = choose(scores.float().cpu().numpy())
        if token in stop_ids:
            return
        yield token
        ids.append(token)


@torch.inference_mode()
def _step(
    model: Any, ids: Sequence[int], cache: Mapping[str, Any], settings: GenerationConfig
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return the scores of the next token, of shape (vocabulary,), and the keys and values of all tokens so far."""
    tokens = torch.tensor([ids], device=model.device)
    out = model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), generation_config=settings, **cache)
    return out.scores[0][0], keys_and_values(out)
