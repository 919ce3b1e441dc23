"""One long row: what goes wrong with positions shows at its end, where the short rows never come.

The text is a made-up list of railway stations. Each entry names two earlier ones and repeats facts about them, so at
the end of the row the likeliest token depends on what stands a thousand tokens or more before it: a lost rope scaling,
another rope theta or a lost sliding window changes it.
"""

from __future__ import annotations

from contextlib import suppress

from framework.api.errors import FrameworkError
from framework.api.protocols import Model
from framework.api.records import Message, Prompt
from framework_plugins.exports.parity.check_rows import CheckRow

END = 256
"""Positions at the end of the row that are compared. The rest is read only: its logits would take gigabytes."""
NAMES = (
    "Orrin", "Velt", "Harrow", "Tamsin", "Quill", "Bexley", "Noor", "Castell", "Lund", "Pereira", "Ostrava",
    "Kimble", "Yarrow", "Dunmore", "Ilsa", "Fenwick", "Marlow", "Zadar", "Thorne", "Uppsala", "Wick", "Jasper",
)  # fmt: skip
SIDES = ("", " North", " South", " East", " West")
KEEPERS = (
    "Adler", "Brandt", "Castro", "Dufour", "Eriksen", "Fontana", "Greene", "Haddad", "Ito", "Jansen", "Kaya",
    "Lindt", "Moreau",
)  # fmt: skip
PASTIMES = (
    "grows roses", "repairs clocks", "plays the cello", "keeps bees", "paints boats", "bakes rye bread",
    "collects maps",
)  # fmt: skip
FIRST, MORE = 5, 2
"""One of the `FIRST` stations is named again in each entry, and the one `MORE` times nearer to the beginning."""


def long_row(model: Model, tokens: int) -> CheckRow | None:
    """Return a row of that many tokens; None where that leaves nothing to compare.

    Args:
        model: writes the text as a question and tokenizes it.
        tokens: of the row; no more than the model's context.
    """
    if tokens <= 1:
        return None
    # An entry has 20 tokens at least, whatever the tokenizer.
    text = "The stations of a railway:\n" + "\n".join(map(_entry, range(tokens // 20 + 1)))
    with suppress(FrameworkError):  # of a template that requires a system prompt, say: this is no conversation
        text = model.render(Prompt((Message("user", text),)))
    ids = tuple(model.tokenize(text)[:tokens])
    return CheckRow("", ids, (), stopped=False, last=min(END, len(ids)))


def _entry(number: int) -> str:
    name, year, keeper, pastime = _station(number)
    text = f"{number + 1}. {name} was opened in {year}. {keeper}, who {pastime}, keeps it."
    if number >= FIRST:
        half, first = _station(number // MORE), _station(number % FIRST)
        text += (
            f" Trains stop at {half[0]}, which was opened in {half[1]} and is kept by {half[2]}, and at {first[0]}, "
            f"whose keeper {first[2]} {first[3]}."
        )
    return text


def _station(number: int) -> tuple[str, int, str, str]:
    """Return a station's name, year, keeper and what the keeper does; they seem to follow no rule."""
    around = number // len(NAMES)
    name = NAMES[number % len(NAMES)] + SIDES[around % len(SIDES)]
    year = 1840 + (37 * number * number + 11 * number) % 113
    keeper = KEEPERS[(5 * number + number // len(KEEPERS)) % len(KEEPERS)]
    return name, year, keeper, PASTIMES[(3 * number + number // len(PASTIMES)) % len(PASTIMES)]
