"""The formats: pure functions from a row to a conversation, similar ones in one module.

Alpaca(AlpacaConfig()).example({"instruction": "Add", "input": "1+1", "output": "2"})
"""

from framework_formats.formats.alpaca import Alpaca
from framework_formats.formats.auto import Auto
from framework_formats.formats.dialogue import ChatML, ShareGPT
from framework_formats.formats.plain import Text
from framework_formats.formats.preference import Preference
from framework_formats.formats.prompt_completion import PromptCompletion

__all__ = ["Alpaca", "Auto", "ChatML", "Preference", "PromptCompletion", "ShareGPT", "Text"]
