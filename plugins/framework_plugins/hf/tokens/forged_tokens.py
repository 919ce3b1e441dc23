"""Special tokens in the text of a conversation: the model takes them for real ones."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from framework.api import Example, Message
from framework_plugins.hf.tokens import message_check
from framework_plugins.hf.tokens.prompt_tokens import PromptTokens

TAKE_OUT_OF_DATA = "take it out of the data"
THOUGHT_TAGS = (Message.BEGIN_THOUGHT, Message.END_THOUGHT)


class ForgedTokens:
    """Looks for special tokens in the texts of messages.

    Args:
        tokenizer: a fast one.
        prompts: tokenizes a text by itself.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompts: PromptTokens) -> None:
        # Where they are split, text is never taken for one. Tags of thoughts are the data's to write.
        self.names = {
            token_id: token.content
            for token_id, token in tokenizer.backend_tokenizer.get_added_tokens_decoder().items()
            if token.special
            and token.content
            and token.content not in THOUGHT_TAGS
            and not tokenizer.split_special_tokens
        }
        self.prompts = prompts
        self._begins = sorted({name[0] for name in self.names.values()})

    def problem(self, example: Example, ids: Sequence[int]) -> str:
        """Say which special token comes from an example's own words; empty if none does.

        `<|im_start|>assistant` in a question opens a turn that nobody took. Text without a character with which one
        begins, nearly all there is, is not looked at more closely.

        Args:
            example: a conversation.
            ids: the tokens of its row.
        """
        texts = [text for message in example.messages for text in message_check.texts(message)]
        if not example.tools and not any(begin in text for begin in self._begins for text in texts):
            return ""
        token_ids = sorted(self.names.keys() & set(ids))
        for owner, text in message_check.all_texts(example) if token_ids else ():
            for token_id in token_ids:
                if self.names[token_id] in text and token_id in self.prompts.ids(text):
                    whose = "the tools hold" if owner == "tools" else f"a turn of the {owner} holds"
                    return f"{whose} the special token {self.names[token_id]} as text, {_READ_AS_ONE}"
        return ""


_READ_AS_ONE = f"which the model would read as the real one: {TAKE_OUT_OF_DATA}"
