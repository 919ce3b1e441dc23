"""One notation for what people write in several: dates, times, prices, numbers with units.

`canonical` rewrites a text; `Quantity.is_same` compares two numbers by value: `0.05` is `5%`, `3500 g` is `3.5 kg`, and
`2.6458` is `2.65` if the reference has two decimals. Month names and number words are English.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

RANGE = re.compile(
    r"\b(?:between\s+(?P<low>\d+)\s+and|from\s+(?P<start>\d+)\s+to)\s+(?P<high>\d+)\b(?![.,:-]\d)", re.IGNORECASE
)
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
MONTH = "(?P<month>" + "|".join(f"{name[:3]}(?:t?\\.|{name[3:]})?" for name in MONTHS) + ")"
DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
YEAR = r"(?P<year>\d{4})\b"
DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b{MONTH}\s+{DAY},?\s+{YEAR}",
        rf"\b{DAY}\.?\s+(?:of\s+)?{MONTH},?\s+{YEAR}",
        r"\b(?P<year>\d{4})(?P<sign>[-/])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})\b",
    )
]
CLOCK = re.compile(
    r"(?<![\d:])(?P<hour>\d{1,2}):(?P<minute>\d\d)(?![\d:])(?:\s*(?P<half>[ap])\.?m\b\.?)?", re.IGNORECASE
)
HOUR = re.compile(r"(?<![\w:.])(?P<hour>\d{1,2})\s?(?P<half>[ap])\.?m\b\.?", re.IGNORECASE)
BOTH_SEPARATORS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d+(?![\d.,]\d)")
NUMBER = r"\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?"
CURRENCIES = {
    name: code
    for code, names in {
        "usd": "$ usd dollar dollars",
        "eur": "€ eur euro euros",
        "gbp": "£ gbp",
        "jpy": "¥ jpy yen",
    }.items()
    for name in names.split()
}
CODE = r"(?P<code>[$€£¥]|\b(?:usd|dollars?|eur|euros?|gbp|jpy|yen)\b)"
PRICES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (rf"(?<!\d)(?<!\d ){CODE}\s?(?P<number>{NUMBER})", rf"(?P<number>(?<![\w.,])(?:{NUMBER}))\s?{CODE}")
]
PREFIXES = {("k", "kilo"): 3, ("", ""): 0, ("c", "centi"): -2, ("m", "milli"): -3}
UNITS = {
    **{
        name: (unit, Decimal(10) ** power)
        for unit, words in {"g": ("gram",), "m": ("meter", "metre"), "l": ("liter", "litre")}.items()
        for (short, long), power in PREFIXES.items()
        for name in (short + unit, *(long + word + ending for word in words for ending in ("", "s")))
    },
    **dict.fromkeys(("%", "percent"), ("share", Decimal("0.01"))),
    **{code: (code, Decimal(1)) for code in CURRENCIES.values()},
}
"""What each unit measures, and how many units without a prefix it is."""
NO_UNIT = ("", Decimal(1))
SPELLED = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
    )
}  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SPELLED |= {word: str(10 * number) for number, word in enumerate(TENS, 2)}
SPELLED_IN_TWO = re.compile(rf"\b(?P<tens>{'|'.join(TENS)})[- ](?P<ones>{'|'.join([*SPELLED][1:10])})\b", re.IGNORECASE)
POWERS = {"thousand": 3, "million": 6, "billion": 9}
SCALED = re.compile(
    rf"(?<![\w.,])(?P<number>{NUMBER})(?:e(?P<exponent>[+-]?\d{{1,2}})\b|\s?[x×*]\s?10\^(?P<power>[+-]?\d{{1,2}})\b|"
    rf"\s(?P<word>{'|'.join(POWERS)})\b)", re.IGNORECASE,
)  # fmt: skip
"""`3e5`, `3 x 10^5`, `3 million`."""
FRACTION = re.compile(r"(?P<above>\d+)/(?P<below>0*[1-9]\d*)")


def canonical(text: str) -> str:
    """Return a text with dates as `2001-02-09`, times as `14:05`, prices as `5 eur`, ranges as `3-7`, decimal points.

    `1.414,50` has a point and a comma, so it can only be read in one way; `1,414` is left as it is. `3 million` and
    `3e6` become `3000000`, and `R & D` becomes `R and D`.
    """
    for pattern in DATES:
        text = pattern.sub(_date, text)
    text = SCALED.sub(_scaled, text.replace(" & ", " and "))
    text = SPELLED_IN_TWO.sub(
        lambda match: str(int(SPELLED[match["tens"].casefold()]) + int(SPELLED[match["ones"].casefold()])), text
    )
    text = HOUR.sub(lambda match: f"{match['hour']}:00 {match['half']}m", text)
    text = BOTH_SEPARATORS.sub(lambda match: match[0].replace(".", "").replace(",", "."), CLOCK.sub(_clock, text))
    text = RANGE.sub(lambda match: f"{match['low'] or match['start']}-{match['high']}", text)
    for pattern in PRICES:
        text = pattern.sub(lambda match: f"{match['number']} {CURRENCIES[match['code'].casefold()]} ", text)
    return text


@dataclass(frozen=True)
class Quantity:
    """A number with its unit, which is empty if it has none or one that is not in `UNITS`.

    Attributes:
        number: as it is written, with its sign.
        unit: a key of `UNITS`.
        decimals: how many the number has.
    """

    number: Decimal
    unit: str = ""
    decimals: int = 0

    @classmethod
    def read(cls, digits: str, unit: str, *, negative: bool) -> Quantity:
        """Read the digits of a number, or a fraction such as `3/8`."""
        if fraction := FRACTION.fullmatch(digits):
            number = Decimal(fraction["above"]) / Decimal(fraction["below"])
        else:
            number = Decimal(digits.replace(",", ""))
        decimals = len(digits.partition(".")[2])
        return cls(-number if negative else number, unit if unit in UNITS else "", decimals)

    def is_same(self, reference: Quantity) -> bool:
        """Whether this is the quantity of a reference. If that has no unit, the unit here does not count."""
        kind, factor = UNITS.get(self.unit, NO_UNIT)
        reference_kind, reference_factor = UNITS.get(reference.unit, NO_UNIT)
        if not reference_kind:
            share = kind == "share" and self.number * factor == reference.number
            return share or self._rounds_to(self.number, reference)
        if kind == reference_kind or (not kind and reference_kind == "share"):
            return self._rounds_to(self.number * factor / reference_factor, reference)
        return False

    def _rounds_to(self, number: Decimal, reference: Quantity) -> bool:
        if number == reference.number:
            return True
        if not reference.decimals or self.decimals <= reference.decimals:
            return False
        step = Decimal(1).scaleb(-reference.decimals)
        return any(number.quantize(step, mode) == reference.number for mode in (ROUND_HALF_UP, ROUND_HALF_EVEN))


def _date(match: re.Match[str]) -> str:
    month = match["month"].casefold()
    number = int(month) if month.isdigit() else 1 + [name[:3] for name in MONTHS].index(month[:3])
    return f"{match['year']}-{number:02}-{int(match['day']):02}"


def _scaled(match: re.Match[str]) -> str:
    power = POWERS[match["word"].casefold()] if match["word"] else int(match["exponent"] or match["power"])
    return f"{Decimal(match['number'].replace(',', '')).scaleb(power):f}"


def _clock(match: re.Match[str]) -> str:
    hour = int(match["hour"])
    if match["half"]:
        hour = hour % 12 + 12 * (match["half"] in "pP")
    return f"{hour:02}:{match['minute']}"
