"""Patterns of text that is broken or refuses; those of secrets are in the library."""

from __future__ import annotations

import re

from framework_plugins.audit.config import Check
from framework_plugins.lib.patterns import Pattern

_HIGH = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
"""The bytes of UTF-8 after the first, read as Latin-1 or as Windows-1252."""
_CYRILLIC = "\u00d0\u00d1"


CODE = re.compile(r"""["`]|[(=,\[{]\s*'""")
"""What a line of code has, in which a line break may be written as an escape."""


def _refusal(marks: tuple[str, ...], *ways: str, opening: bool = False) -> Pattern:
    regex = re.compile("|".join(ways), re.MULTILINE)
    return Pattern(Check.refusals, "a refusal", marks, regex, small=True, answers=True, opening=opening)


_CANNOT = r"(?:can(?:no|['’])t|can not|am (?:unable|not able) to|won['’]t be able to|will not be able to|won['’]t)"
_DOING = (
    r"(?:assist|help|provide|fulfill?|comply|create|generate|answer|engage|support|discuss|do that|offer|give|write|"
    r"process|access|browse|participate|share|respond|continue|complete|produce|recommend|encourage|advise)"
)
_SORRY = (
    r"^[^\w\n]*(?:(?:i['’]?m|i am) (?:\w+ )?sorry|sorry|my apologies|i (?:do )?apologi[sz]e|unfortunately|i regret)\b"
)
_BAD = r"(?:request|that|this|with|content|information|illegal|harmful|unethical|inappropriate|advice)"
PATTERNS = (
    Pattern(
        Check.broken_encoding,
        "text that was decoded wrongly",
        ("\ufffd", "Ã", "Â", "â€", "ï»¿", "ðŸ", "ð\x9f", "\u00d0", "\u00d1", "â\x80"),
        re.compile(
            f"\ufffd|[ÃÂ][{_HIGH}]|â(?:€|\x80)[{_HIGH}]?|ï»¿|ð(?:Ÿ|\x9f)|(?:[{_CYRILLIC}][{_HIGH}{_CYRILLIC}]){{2}}"
        ),
    ),
    Pattern(
        Check.control_characters,
        "a control character",
        (),
        re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u202a-\u202e\u2066-\u2069]"),
    ),
    Pattern(
        Check.markup,
        r"a line break written as \n",
        ("\\n",),
        re.compile(r"^.*[^\\]\\n(?:\\n)*[^a-z\\].*$", re.MULTILINE),
        counts=lambda match: not CODE.search(match[0]),
    ),
    Pattern(
        Check.markup,
        "an HTML entity",
        ("&amp;", "&lt;", "&gt;", "&quot;", "&nbsp;", "&#"),
        re.compile(r"&(?:amp|lt|gt|quot|nbsp|#39|#x27|#\d{2,5});"),
    ),
    Pattern(
        Check.markup,
        "an HTML tag",
        ("<p>", "<br", "</p>"),
        re.compile(r"<(?:p|/p|br ?/?)>"),
    ),
    _refusal(
        ("sorry", "apologi", "unfortunately", "regret"),
        rf"{_SORRY}[^\n]{{0,60}}\bi (?:can only|{_CANNOT})\b",
        opening=True,
    ),
    _refusal(
        ("as an ai", "as a large language model", "as a language model", "ai language model", "as an artificial"),
        r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)(?:[ -](?:language )?(?:model|assistant|"
        r"system|chatbot|program))?\b(?:,? (?:i|my|developed|trained|created|designed)\b|,)",
        r"\bi(?:['’]?m| am) (?:just |only |merely )?an? (?:ai|large) language model\b",
    ),
    _refusal(
        ("i can", "i am unable", "i am not able", "i won", "i'm unable", "i'm not able", "i’m unable", "i’m not able"),
        rf"^[^\w\n]*i (?:{_CANNOT}|simply cannot) (?:\w+ )?{_DOING}\b[^\n]{{0,80}}\b{_BAD}\b",
        rf"^[^\w\n]*i['’]m (?:unable|not able) to (?:\w+ )?{_DOING}\b",
        opening=True,
    ),
    _refusal(
        (
            "ki-sprachmodell",
            "modèle de langage",
            "modelo de lenguaje",
            "modelo de linguagem",
            "作为一个人工智能",
            "作为一个ai",
        ),
        r"\bals ki-sprachmodell\b",
        r"\ben tant que modèle de langage\b",
        r"\bcomo (?:un |um )?modelo de (?:lenguaje|linguagem)\b",
        r"作为一个(?:人工智能|ai)",
    ),
)
