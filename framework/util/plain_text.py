"""What a text says without its form: case, punctuation and spaces aside."""

from __future__ import annotations

import re
import unicodedata

CORE = re.compile(r"[-+$€£.#]*\d.*[\w%°+#]|[-+$€£.#]*\d|\w.*[\w%°+#]|\w")
"""What is left of a word without the punctuation around it. Signs of a number stay, and so do those of C++ and C#."""


def plain_text(text: str) -> str:
    """Return the words of a text in lower case, without the punctuation around them; as it is if it has no word."""
    found = (CORE.search(word) for word in unicodedata.normalize("NFKC", text).casefold().split())
    return " ".join(core[0] for core in found if core) or text.strip()
