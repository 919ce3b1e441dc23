"""The formats: pure functions from a row to a conversation, similar ones in one module.

They are code, not a table of columns: turns may be JSON in a cell, arguments of a call text or an object, and a thought
is in one of three fields. What can be a table is one: roles, speakers and names of columns (`turns.py`, `names.py`).

Alpaca(AlpacaConfig()).example({"instruction": "Add", "input": "1+1", "output": "2"})
"""

from framework_plugins.formats.formats.alpaca import Alpaca
from framework_plugins.formats.formats.auto import Auto
from framework_plugins.formats.formats.dialogue import ChatML, ShareGPT
from framework_plugins.formats.formats.plain import Text
from framework_plugins.formats.formats.preference import Preference
from framework_plugins.formats.formats.prompt_completion import PromptCompletion
from framework_plugins.formats.formats.unpaired import Unpaired

__all__ = ["Alpaca", "Auto", "ChatML", "Preference", "PromptCompletion", "ShareGPT", "Text", "Unpaired"]
