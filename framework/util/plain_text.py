"""What a text says without its form.

`plain_text` ignores case, punctuation and spaces. `Reader` reads an answer as leniently as its reference allows: a
sentence, Markdown, a prefix, an explanation, a unit, or separators of thousands around the reference are form, and so
is another notation of the same date, time, price or number (`notation.py`).
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from framework.util.notation import FRACTION, NUMBER, SPELLED, UNITS, Quantity, canonical

CORE = re.compile(r"(?<![-+$€£.#])[-+$€£.#]*\d(?:.*[\w%°+#])?|\w.*[\w%°+#]|\w")
"""What is left of a word without the punctuation around it. Signs of a number stay, and so do those of C++ and C#."""
UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Characters of scripts that are written without spaces, or with endings on names: each is a word."""
TOKEN = re.compile(
    r"\d+(?:[-/.:]\d+){2,}|\d+[/:]\d+"  # a date, a version, a fraction, a time
    rf"|{NUMBER}|[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W\d_])(?:(?![{UNSPACED}])[^\W_])*[+#]*|\S|\n"
)
PLAIN_NUMBER = re.compile(NUMBER)
AMOUNT = re.compile(rf"(?!0\d)(?:{NUMBER})")
"""`007` is a name."""
DIGIT_GROUPS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f'’_](?=\d{3}(?!\d))")
MINUS = "\u2212"
SIGN = re.compile(r"(?<![\w)])[-\u2212](?=[$€£¥]?\d)")
NOT = re.compile(r"n['’]t\b", re.IGNORECASE)
THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
EMPHASIS = re.compile(r"(?<![\w*`])(\*{1,3}|_{1,2}|`{1,3})(?=\S)(.+?)(?<=\S)\1(?![\w*`])", re.DOTALL)
CODE = re.compile(r"[=<>{}\[\]|~`^*\\/@&]")
"""A reference with one of these may be code, of which each sign counts: an answer has to contain it as it is."""
CLAUSE_ENDS = frozenset(".,;:!?\n…。、，；：！？")
"""Other punctuation ends no clause: `not "positive"` is one."""
SIGNS = frozenset("%&@°+^" + MINUS)
"""Punctuation and symbols that are words, beside those of currencies."""
NEGATIONS = frozenset(
    ["not", "no", "non", "never", "neither", "nor", "cannot", "without", "hardly", "than", "nicht", "kein", "keine",
     "keinen", "pas", "sin", "nunca", "não", "не", "不", "没", "非"]
)  # fmt: skip
"""Words of several languages. One that is itself a reference, such as `no` beside `yes`, negates nothing."""
NEGATED = 5
"""Words after a negation, within a clause, that it may be about."""
ANSWER = frozenset(["answer", "antwort", "respuesta", "réponse", "resposta", "risposta"])
"""`The answer is B` counts more than what the text names before."""
OPTION = re.compile(r"(?<![^\s(])([A-Z])[).:]\s+(.+?)(?=[\s(]+[A-Z][).:]\s|\Z)", re.DOTALL)
"""One of the options in a question: `A) Lima B) Quito`."""
ANY_ORDER = re.compile(
    r"\b(?:in any order|order does(?:n['’]t| not) matter|regardless of (?:the )?order|in beliebiger Reihenfolge)\b",
    re.IGNORECASE,
)
"""How a question says that its answer is a set."""
LIST_MARK = re.compile(r"^[ \t]*\d{1,2}[.)][ \t]+(?=\S)", re.MULTILINE)
TURN = re.compile(r"\n[ \t]*(?:#+[ \t]*)?(?:User|Human|Question|Q|Instruction|Input|Prompt)\s*:")
"""What a base model begins after its answer: the next turn of a conversation."""
ARTICLES = frozenset(["the", "a", "an"])
POLAR = {
    **dict.fromkeys(("yes", "true", "correct", "ja", "oui", "sí"), True),
    **dict.fromkeys(("no", "false", "incorrect", "nein", "non"), False),
}
"""References of a question whose answer may be a statement."""
AROUND_SIGN = re.compile(r"\s*([=<>(){}\[\],;])\s*")
SEPARATOR = re.compile(r"[,;、\n]|\b(?:and|und|et|y)\b|&", re.IGNORECASE)
LABELS = 3
"""References that are numbers are labels if there are this many times as many of them as different ones."""
Name = tuple[str, ...]


def plain_text(text: str) -> str:
    """Return the words of a text in lower case, without the punctuation around them; as it is if it has no word."""
    cores = (CORE.search(word) for word in unicodedata.normalize("NFKC", text).casefold().split())
    return " ".join(core[0] for core in cores if core) or text.strip()


@dataclass(frozen=True)
class Words:
    """The words and numbers of a text, in lower case and, as `raw`, as they are written.

    `gaps[n]` is what lies before word `n`, the last one what lies after all: 0 spaces, 1 punctuation, 2 the end of a
    clause.
    """

    words: list[str]
    raw: list[str]
    gaps: list[int]

    @classmethod
    def of(cls, text: str) -> Words:
        """Split a text. The sign of a number and those of currencies are words, other punctuation is not."""
        text = unicodedata.normalize("NFKC", DIGIT_GROUPS.sub("", text))
        text = canonical(SIGN.sub(f" {MINUS}", NOT.sub(" not", text)))
        words, raw, gaps = list[str](), list[str](), [2]
        for token in TOKEN.findall(text):
            if len(token) == 1 and _is_punctuation(token):
                gaps[-1] = max(gaps[-1], 2 if token in CLAUSE_ENDS else 1)
                continue
            words.append(_number(token) if PLAIN_NUMBER.fullmatch(token) else token.casefold())
            raw.append(token)
            gaps.append(0)
        return cls(words, raw, [*gaps[:-1], 2])

    def without(self, part: list[str]) -> Words:
        """Return the rest after these words, if they are several and the text repeats them."""
        size = len(part)
        for start in range(len(self.words) - size + 1) if size > 1 else ():
            if self.words[start : start + size] == part:
                end = start + size
                words, raw = self.words[:start] + self.words[end:], self.raw[:start] + self.raw[end:]
                return Words(words, raw, [*self.gaps[:start], 2, *self.gaps[end + 1 :]])
        return self


@dataclass(frozen=True)
class Place:
    """Where a text names something.

    Attributes:
        apart: it is between punctuation, so that it is not a part of a sentence.
        negated: by a word before it in its clause.
        concluded: the word `answer` is before it in its clause.
    """

    name: Name
    start: int
    apart: bool
    negated: bool
    concluded: bool

    def is_listed_with(self, other: Place) -> bool:
        """Whether this name is the next but one word after another, as in `positive or negative`."""
        return self.name != other.name and self.start - other.start - len(other.name) <= 1


class Reader:
    """Reads answers to questions with these references.

    An answer says its reference if that is the only one of all references that it names, without those that it negates.
    If it names several, the one after the word `answer` counts, then the one between punctuation, as in `Positive. It
    has no negative word.` Of several numbers that are not labels, the last one counts that the question does not give:
    `40 + 2 = 42`. The text of an option counts as its letter.
    """

    def __init__(self, references: Iterable[str]) -> None:
        references = [*references]
        self._polar = all(plain_text(text) in POLAR for text in references)
        self._codes = {
            code
            for text in references
            if CODE.search(code := _flat(text)) and not FRACTION.fullmatch(code) and CODE.search(canonical(code))
        }
        texts = {_name(text): text for text in map(Words.of, references) if text.words}
        self._letters = {name: text.raw[0] for name, text in texts.items() if len(name) == len(name[0]) == 1}
        self._names: dict[str, list[Name]] = {}
        for name in sorted(texts, key=len, reverse=True):
            self._names.setdefault(name[0], []).append(name)
        numbers = [name for name in (tuple(Words.of(text).words) for text in references) if _is_number(name)]
        self._labels = LABELS * len({*numbers}) <= len(numbers)
        self._negations = NEGATIONS - {name[0] for name in texts if len(name) == 1}

    def read(self, question: str, answer: str, reference: str) -> tuple[str, str]:
        """Return what a metric compares of an answer and its reference; the reference twice if the answer says it."""
        answer = THOUGHTS.sub("", answer)
        value = _json(reference)
        if value is None:
            if any(self.says(question, text, reference) for text in (answer, TURN.split(answer)[0])):
                return reference, reference
            bare = _flat if _flat(reference) in self._codes else plain_text
            return bare(answer), bare(reference)
        for text in _json_texts(answer):
            answered = _json(text)
            if _is_same_json(answered, value):
                return reference, reference
            if isinstance(answered, type(value)):
                return text, reference
        return plain_text(answer), plain_text(reference)

    def says(self, question: str, answer: str, reference: str) -> bool:
        """Whether an answer says a reference that is not JSON, and no other reference."""
        named, code = Words.of(reference), _flat(reference)
        name = _name(named)
        if len(LIST_MARK.findall(answer)) > 1:
            answer = LIST_MARK.sub("", answer)
        if not name:
            return False
        if ANY_ORDER.search(question) and len(items := _items(reference)) > 1 and _items(answer) == items:
            return True
        if code in self._codes:
            text = _flat(answer)
            return _has(text, code) and all(_has(code, other) for other in self._codes if _has(text, other))
        asked = Words.of(question)
        words = Words.of(answer).without(asked.words)
        quantity = _quantity(named)
        if _is_number(name) and not self._labels and quantity:
            is_list = "=" not in answer and not any(map(str.isalpha, words.words))
            return self._number(words, asked, quantity, is_list=is_list)
        names = self._answers([place for place in self._places(words) if not place.negated])
        if names:
            return names == {name}
        if self._polar:
            return self._affirms(asked, words) is POLAR[plain_text(reference)]
        if quantity:
            return self._number(words, asked, quantity, is_list=False)
        return _is_last_name_first(named, answer) or self._says_option(question, answer, reference)

    @staticmethod
    def _answers(places: list[Place]) -> set[Name]:
        """Return the names that are the answer: those that the word `answer`, or else punctuation, sets off."""
        if concluded := [place.name for place in places if place.concluded]:
            return {concluded[-1]}
        pairs = [pair for pair in itertools.pairwise(places) if pair[1].is_listed_with(pair[0])]
        listed = [place for pair in pairs for place in pair]
        single = [place for place in places if place not in listed]
        apart = [place for place in single if place.apart]
        return {place.name for place in apart or single or places}

    def _affirms(self, asked: Words, words: Words) -> bool | None:
        """Whether a statement affirms a question: by a word such as `true`, or else by the last word of the question.

        `The claim is not covered` denies `Is the claim covered?`; None if the statement has no such word.
        """
        for choices in (POLAR, dict.fromkeys(asked.words[-1:], True)):
            for start, word in enumerate(words.words):
                if word in choices:
                    return choices[word] is not self._place(words, start, (word,)).negated
        return None

    def _says_option(self, question: str, answer: str, reference: str) -> bool:
        """Whether the answer is the text of the option whose letter is the reference, or the other way round."""
        options = {match[1]: match[2].strip() for match in OPTION.finditer(question)}
        texts = {text.casefold(): letter for letter, text in options.items()}
        if len(texts) < len(options):  # two have the same text
            return False
        if reference in options:
            return Reader(options.values()).says("", answer, options[reference])
        letter = texts.get(reference.casefold())
        return letter is not None and Reader(options).says("", answer, letter)

    def _places(self, words: Words) -> Iterator[Place]:
        """Give where references are named, the longest one at each place."""
        start = 0
        while start < len(words.words):
            names = [name for name in self._names.get(words.words[start], ()) if self._is_named(words, start, name)]
            if names:
                yield self._place(words, start, names[0])
            start += len(names[0]) if names else 1

    def _is_named(self, words: Words, start: int, name: Name) -> bool:
        if tuple(words.words[start : start + len(name)]) != name:
            return False
        if name in self._letters:  # an article is not the answer `A`
            return self._place(words, start, name).apart or self._letters[name] == words.raw[start]
        signed = start > 0 and words.words[start - 1] == MINUS
        return not (signed and name[0][0].isdigit())

    def _place(self, words: Words, start: int, name: Name) -> Place:
        first, end = start, start + len(name)
        while first > max(0, start - NEGATED) and words.gaps[first] < 2:  # noqa: PLR2004 - the end of a clause
            first -= 1
        before = words.words[first:start]
        negated = any(word in self._negations for word in before)
        apart = bool(words.gaps[start] and words.gaps[end])
        return Place(name, start, apart, negated, concluded=any(word in ANSWER for word in before))

    def _numbers(self, words: Words) -> list[tuple[Place, Quantity]]:
        """Return the numbers that a text says; fractions, and then words such as `two`, if it has no digits else."""
        for is_number in (AMOUNT.fullmatch, FRACTION.fullmatch, SPELLED.get):
            numbers = []
            for start, word in enumerate(words.words):
                if not is_number(word):
                    continue
                signed = start > 0 and words.words[start - 1] == MINUS
                place = self._place(words, start - signed, (MINUS, word) if signed else (word,))
                digits = SPELLED.get(word, words.raw[start])
                unit = words.words[start + 1] if start + 1 < len(words.words) else ""
                numbers.append((place, Quantity.read(digits, unit, negative=signed)))
            if numbers:
                return [(place, quantity) for place, quantity in numbers if not place.negated]
        return []

    def _number(self, words: Words, asked: Words, reference: Quantity, *, is_list: bool) -> bool:
        """Whether the number that is the answer is the reference; no number of several and nothing else is."""
        numbers = self._numbers(words)
        if is_list and len({place.name for place, _ in numbers}) > 1:
            return False
        in_question = [(place.name, quantity) for place, quantity in self._numbers(asked)]
        if not any(quantity.is_same(reference) for _, quantity in in_question):
            given = {name for name, _ in in_question}
            numbers = [number for number in numbers if number[0].name not in given] or numbers
        numbers = [number for number in numbers if number[0].concluded] or numbers
        numbers = [number for number in numbers if number[0].apart] or numbers
        return bool(numbers) and numbers[-1][1].is_same(reference)


def _name(words: Words) -> Name:
    """Return the words of a reference, without an article before them."""
    name = tuple(words.words)
    return name[1:] if len(name) > 1 and name[0] in ARTICLES else name


def _is_same(value: object, reference: object) -> bool:
    """Whether two JSON values have the same content.

    Numbers may be texts, and the keys that one of two objects lacks may have other names, in the same order.
    """
    if isinstance(value, dict) and isinstance(reference, dict):
        shared = value.keys() & reference.keys()
        ordered = [
            [*(item[key] for key in sorted(shared)), *(item[key] for key in item if key not in shared)]
            for item in (value, reference)
        ]
        return _is_same(*ordered)
    if isinstance(value, list) and isinstance(reference, list):
        return len(value) == len(reference) and all(itertools.starmap(_is_same, zip(value, reference, strict=True)))
    return _scalar(value) == _scalar(reference)


def _is_same_json(answered: object, value: object) -> bool:
    """Whether JSON, or the only value in it, has the content of a reference."""
    inner = [*answered.values()] if isinstance(answered, dict) else answered
    try:
        return _is_same(answered, value) or (isinstance(inner, list) and len(inner) == 1 and _is_same(inner[0], value))
    except RecursionError:
        return False


def _scalar(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _json_number(value.replace(",", "")) if AMOUNT.fullmatch(value.removeprefix("-")) else plain_text(value)


def _quantity(words: Words) -> Quantity | None:
    """Return the number with its unit that a text consists of, if it does."""
    negative = words.words[0] == MINUS
    number, unit = words.words[negative : negative + 1], words.words[negative + 1 :]
    if not number or len(unit) > 1 or (unit and unit[0] not in UNITS):
        return None
    if not (AMOUNT.fullmatch(number[0]) or FRACTION.fullmatch(number[0])):
        return None
    return Quantity.read(words.raw[negative], unit[0] if unit else "", negative=negative)


def _items(text: str) -> list[str]:
    """Return what a text lists, in one order."""
    return sorted(filter(None, map(plain_text, SEPARATOR.split(text))))


def _is_last_name_first(name: Words, answer: str) -> bool:
    """Whether an answer has `Smith, John` for the reference `John Smith`."""
    if len(name.raw) != 2 or not all(word.isalpha() and word[0].isupper() for word in name.raw):  # noqa: PLR2004
        return False
    first, last = name.raw
    return re.search(rf"\b{last},\s+{first}\b", answer) is not None


def _is_punctuation(char: str) -> bool:
    return char not in SIGNS and unicodedata.category(char) in {
        "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sk", "So", "Cc", "Cf"
    }  # fmt: skip


def _number(token: str) -> str:
    """Write a number without separators of thousands and without zeros after its fraction; `007` stays."""
    digits = token.replace(",", "")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _is_number(name: Name) -> bool:
    return len(name) in {1, 2} and name[:-1] in {(), (MINUS,)} and PLAIN_NUMBER.fullmatch(name[-1]) is not None


def _flat(text: str) -> str:
    """Return a text in lower case and without emphasis, its spaces in line."""
    text = " ".join(EMPHASIS.sub(r"\2", unicodedata.normalize("NFKC", text).casefold()).split())
    return AROUND_SIGN.sub(r"\1", text)


def _has(text: str, part: str) -> bool:
    return part in text and re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def _json(text: str) -> object:
    """Return the value of a JSON object or list, with numbers by their value; None if the text is neither."""
    try:
        value: object = json.loads(text, parse_int=_json_number, parse_float=_json_number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _json_number(digits: str) -> tuple[str, Decimal]:
    return "number", Decimal(digits)  # which is not equal to `true`, as 1 is


def _json_texts(text: str) -> Iterator[str]:
    """Give the JSON objects and lists in a text."""
    decoder, start = json.JSONDecoder(), 0
    while place := re.compile(r"[{\[]").search(text, start):
        try:
            _, start = decoder.raw_decode(text, place.start())
        except (ValueError, RecursionError):
            start = place.end()
        else:
            yield text[place.start() : start]
