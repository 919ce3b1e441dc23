"""Cluster prompts that are not independent: they ask about one document, share a conversation, or ask the same again.

    clusters(["…a document… Who wrote it?", "…a document… When?", "What is the capital of Peru?"], [None, None, "Lima"])

A text that nearly all prompts share is a template and makes no cluster, nor does a passage that training rows share:
that is an instruction. Any other text that only some prompts share, however many these are, is a document that they ask
about. Prompts that are worded or spelled differently ask the same only if
they have the same right answer, so rewordings and misspellings need one reference.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np

from framework.util.minhash import group, join
from framework.util.text_features import WORD, Groups, Hashes, common_features, features

TEMPLATE_SHARE = 0.8
"""A text in more than this share of the prompts is a template, not a document."""
TEMPLATE_PART = 0.2
"""Least share of the prompts' text for a template to be reported."""
OPENING_WORDS = 5
"""Least number of words in a first turn that makes prompts one conversation; fewer are a greeting."""
MISSPELLED, SAME_LETTERS = 0.4, 0.8
"""Largest share of words with typing errors, and the least share of letters that such a word keeps."""
PASSAGE = 8
"""Words of a passage that two training rows share, so that it is an instruction and no turn of phrase."""
NAMES_TO_FORMS = 0.5
"""Least number of names per wording: prompts with many wordings and few names are not about the names."""
_TURN = re.compile(r"(?:^|\n)(?=(?:system|user|assistant|tool): )")
_SYSTEM = "system: "
_SENTENCE_END = re.compile(r"[.!?:;\n]")


def clusters(
    questions: Sequence[str], references: Sequence[str | None], shared: frozenset[int] = frozenset()
) -> Groups:
    """Number prompts so that dependent ones have the same number, that of the first of them.

    Args:
        questions: the prompts.
        references: their right answers, None if one is not known.
        shared: the `passages` of the training rows.
    """
    questions = [_without(question, shared) for question in questions] if shared else questions
    labels = _one_text(questions)
    answers = ["" if reference is None else " ".join(reference.casefold().split()) for reference in references]
    links = [*_conversations(questions), *_misspelled(questions, answers), *_reworded(questions, answers)]
    return join(labels, *np.array(links).T) if links else labels


def passages(texts: Iterable[str]) -> frozenset[int]:
    """Return a hash of each passage that two of the texts have."""
    times: Counter[int] = Counter()
    for text in texts:
        times.update({*_hashes(WORD.findall(text.casefold()))})
    return frozenset(passage for passage, count in times.items() if count > 1)


def _hashes(words: Sequence[str]) -> list[int]:
    return [zlib.crc32(" ".join(words[start : start + PASSAGE]).encode()) for start in range(len(words) - PASSAGE + 1)]


def _without(question: str, shared: frozenset[int]) -> str:
    """Return a prompt without the passages; as it is if it has no other word."""
    words = [*WORD.finditer(question)]
    starts = [
        start for start, passage in enumerate(_hashes([word[0].casefold() for word in words])) if passage in shared
    ]
    covered = {start + step for start in starts for step in range(PASSAGE)}
    if not covered or len(covered) == len(words):
        return question
    text, end = "", 0
    for index, word in enumerate(words):
        if index in covered:
            text, end = text + question[end : word.start()], word.end()
    return text + question[end:]


def have_one_template(questions: Sequence[str]) -> bool:
    """Whether nearly all prompts share a part of their text."""
    hashes, template = _template(questions)
    return bool(np.isin(hashes, template).sum() >= TEMPLATE_PART * max(len(hashes), 1))


def _template(questions: Sequence[str]) -> tuple[Hashes, Hashes]:
    """Return the features of all prompts, and those that nearly all have. Two prompts have no template."""
    all_hashes = features(questions).hashes
    hashes, times = np.unique(all_hashes, return_counts=True)
    return all_hashes, hashes[times > max(TEMPLATE_SHARE * len(questions), 2)]


def _one_text(questions: Sequence[str]) -> Groups:
    """Group by all text but the template, which finds documents; then by the text that few groups share."""
    count = len(questions)
    _, template = _template(questions)
    labels = group(lambda: [questions], count, common=template)
    # Each group counts once, because many prompts share a document.
    representatives = [questions[index] for index in np.unique(labels)]
    common = np.union1d(template, common_features(lambda: [representatives], len(representatives)))
    return join(labels, np.arange(count), group(lambda: [questions], count, common=common))


def _chain(members: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((members[0], member) for member in members[1:])


def _conversations(questions: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Link prompts that begin with the same turn, if one of them has several turns."""
    begin, several = defaultdict[str, list[int]](list), set[str]()
    for index, question in enumerate(questions):
        turns = [turn for turn in _TURN.split(question) if turn and not turn.startswith(_SYSTEM)]
        words = WORD.findall((turns[0] if turns else question).removeprefix("user: ").casefold())
        if len(words) >= OPENING_WORDS:
            begin[opening := " ".join(words)].append(index)
            several |= {opening} if len(turns) > 1 else set()
    for opening in several:
        if len(begin[opening]) <= TEMPLATE_SHARE * len(questions):
            yield from _chain(begin[opening])


def _misspelled(questions: Sequence[str], answers: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Link prompts with one reference that differ only by typing errors in a few of their words."""
    spelled = [WORD.findall(question.casefold()) for question in questions]
    for members in _buckets((answer, len(words)) for answer, words in zip(answers, spelled, strict=True)):
        if not spelled[members[0]]:
            continue
        hashes = np.array([[hash(word) for word in spelled[index]] for index in members], np.int64)
        for position, index in enumerate(members):
            different = hashes[position + 1 :] != hashes[position]
            for later in np.flatnonzero(different.mean(axis=1) <= MISSPELLED):
                neighbour = members[position + 1 + later]
                if all(
                    _same_letters(spelled[index][k], spelled[neighbour][k]) for k in np.flatnonzero(different[later])
                ):
                    yield index, neighbour


@functools.lru_cache(maxsize=100_000)
def _same_letters(left: str, right: str) -> bool:
    """Whether two words differ by a typing error, which keeps most letters. Numbers never do."""
    shared = (Counter(left) & Counter(right)).total()
    return not _has_digit(left + right) and 2 * shared >= SAME_LETTERS * (len(left) + len(right))


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def _buckets(keys: Iterator[Hashable]) -> list[list[int]]:
    """Gather the positions of equal keys, if there are at least two."""
    positions = defaultdict[Hashable, list[int]](list)
    for index, key in enumerate(keys):
        positions[key].append(index)
    return [members for members in positions.values() if len(members) > 1]


def _reworded(questions: Sequence[str], answers: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Link prompts with one reference and the same names and numbers that are worded differently.

    Either no other prompt has that reference, or the wordings recur with other names: 12 persons, asked in 5 ways each.
    """
    names, forms = _names(questions)
    about, wordings = defaultdict[str, set[Hashable]](set), defaultdict[str, set[Hashable]](set)
    for answer, name, form in zip(answers, names, forms, strict=True):
        about[answer].add(name)
        wordings[form].add(name)
    recurring = {form for form, with_names in wordings.items() if len(with_names) > 1}
    crossed = len(set(names)) >= NAMES_TO_FORMS * len(recurring)
    for members in _buckets(zip(answers, names, strict=True)):
        is_unique = len(about) > 1 and len(about[answers[members[0]]]) == 1
        if names[members[0]] and (is_unique or (crossed and all(forms[index] in recurring for index in members))):
            yield from _chain(members)


def _names(questions: Sequence[str]) -> tuple[list[Hashable], list[str]]:
    """Return the names and numbers of each prompt, and the rest of its words.

    A name begins with a capital within a sentence and is never in small letters. Words that nearly all prompts have are
    not names.
    """
    small, inside, prompt_words = set[str](), set[str](), list[list[str]]()
    for question in questions:
        prompt_words.append([])
        end = 0
        for match in WORD.finditer(question):
            word, begins = match.group(), not end or _SENTENCE_END.search(question, end, match.start())
            end = match.end()
            prompt_words[-1].append(word.casefold())
            if _has_digit(word) or (word != word.lower() and not begins):
                inside.add(word.casefold())
            elif word == word.lower():
                small.add(word)
    times = Counter(word for words in prompt_words for word in set(words))
    name_words = {word for word in inside - small if times[word] <= TEMPLATE_SHARE * len(questions)}
    names: list[Hashable] = [tuple(sorted(word for word in words if word in name_words)) for words in prompt_words]
    return names, [" ".join(word for word in words if word not in name_words) for words in prompt_words]
