"""The model in memory with lm-eval's interface: log-likelihoods and greedy answers, by `framework.api.Model`.

Texts are cut into tokens as lm-eval's own class for transformers does it, so that the figures are those of its command
line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

from framework import FrameworkError
from framework.api import Answer, Message, Model, Prompt
from framework_plugins.evals.likelihood import Likelihood

FIRST_ROUND_TOKENS = 32
"""Tokens that are said before it is looked whether an answer has ended; twice as many each time."""
DEFAULT_MAX_NEW_TOKENS = 256
"""Tokens of an answer if the task sets no limit, as lm-eval has it."""
Pair = tuple[tuple[str, str] | None, list[int], list[int]]
"""What was asked, and the token ids of the context and of the continuation."""


class HarnessModel(TemplateLM):
    """A `Model` for lm-eval.

    Args:
        model: base or tuned, as it is when it is asked.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.likelihood = Likelihood(model)
        self.generated: dict[tuple[str, str], Answer] = {}
        """The answers that were generated, by context and text."""

    @property
    def eot_token_id(self) -> int:
        """The token before a text without context."""
        return self.model.text_form.prefix

    @property
    def max_length(self) -> int:
        """Tokens that the model can read."""
        return self.likelihood.longest

    @property
    def tokenizer_name(self) -> str:
        """A name for the template and the tokenizer."""
        return self.model.encoding

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:  # noqa: FBT001 - lm-eval's signature
        """Return token ids, after those with which the tokenizer begins a text unless they are there."""
        return self.likelihood.encode(string, add_special_tokens)

    def _loglikelihood_tokens(self, requests: Sequence[Pair], **_: Any) -> list[tuple[float, bool]]:
        """Return the score of each continuation, and whether the model would generate it."""
        return self.likelihood.score([(context, continuation) for _, context, continuation in requests])

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:  # noqa: ARG002, FBT001, FBT002 - lm-eval's signature
        """Score whole texts, in windows if they are longer than the model can read."""
        return self.likelihood.score_texts([request.args[0] for request in requests])

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002, FBT001, FBT002 - lm-eval's signature
        """Continue contexts greedily up to a stop token or one of the task's stop texts.

        Raises:
            FrameworkError: a task samples its answers.
        """
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            settings = normalize_gen_kwargs(request.args[1], DEFAULT_MAX_NEW_TOKENS)
            if settings["do_sample"]:
                raise FrameworkError(
                    f"task '{request.task_name}' samples its answers (do_sample), but here they are greedy: "
                    "set do_sample: false and temperature: 0 in a copy of it"
                )
            groups[settings["max_gen_toks"], tuple(settings["until"])].append(index)
        texts = [""] * len(requests)
        for (max_tokens, until), indexes in groups.items():
            contexts = [requests[index].args[0] for index in indexes]
            for index, text in zip(indexes, self._generate_rounds(contexts, max_tokens, until), strict=True):
                texts[index] = text
        return texts

    def _generate_rounds(self, contexts: Sequence[str], max_tokens: int, until: Sequence[str]) -> list[str]:
        """Generate answers in rounds; an answer that has ended is left out of the next round."""
        room = max(1, self.max_length - max_tokens)
        starts = [self.tok_encode(context)[-room:] or [self.eot_token_id] for context in contexts]
        answers: list[Answer] = [Answer("", 0, stopped=False)] * len(contexts)
        remaining, length = list(range(len(contexts))), 0
        while remaining and length < max_tokens:
            count = min(max(FIRST_ROUND_TOKENS, length), max_tokens - length)
            length += count
            rows = [[*starts[index], *answers[index].ids] for index in remaining]
            continuations = self.model.complete(rows, max_new_tokens=count, batch_size=self.model.answers_at_once)
            for index, answer in zip(remaining, continuations, strict=True):
                answers[index] = self._join_answers(answers[index], answer, until)
            going_on = zip(remaining, continuations, strict=True)
            remaining = [index for index, answer in going_on if answer.ids and not answers[index].stopped]
        for context, answer in zip(contexts, answers, strict=True):
            self.generated[context, answer.text] = answer
        return [answer.text for answer in answers]

    def _join_answers(self, before: Answer, continuation: Answer, until: Sequence[str]) -> Answer:
        """Put two parts of an answer together, and cut it at the task's stop texts."""
        ids = (*before.ids, *continuation.ids)
        full_text = self.model.decode(ids)
        text = postprocess_generated_text(full_text, list(until), None)
        return Answer(text, len(ids), stopped=continuation.stopped or text != full_text, ids=ids)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:  # noqa: FBT001, FBT002 - lm-eval's signature
        """Write turns as the chat template does; an answer that has begun is put at the end as it is.

        A template that knows no system turn gets the others alone, as lm-eval does it.
        """
        turns = [Message(turn["role"], turn["content"]) for turn in chat_history]
        beginning = "" if add_generation_prompt else turns.pop().content
        try:
            return self.model.render(Prompt(tuple(turns))) + beginning
        except FrameworkError:
            other_turns = tuple(turn for turn in turns if turn.role != "system")
            if len(other_turns) == len(turns):
                raise
            return self.model.render(Prompt(other_turns)) + beginning
