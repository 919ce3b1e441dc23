r"""Dialogues that are written as text: what a chat template rendered, turns by their speakers' names, exported chats.

    speakers("Q: say\\nA: it")

is `("Q:", "A:")`, and `lines_problem(["[31.12.23, 21:41:03] Anna: Hello"] * 3, "chat.txt")` says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TEMPLATE_MARKS = re.compile(
    r"""<[|｜](?:im_(?:start|user|assistant|system)|(?:start_)?header(?:_id|_start)|start_of_role|START_OF_TURN_TOKEN
        |(?:hy_)?(?:user|assistant|system)|(?:user|assistant|system)_start|turn)[|｜]?>
    |<start_of_turn>|\[/?INST\]|\[\|(?:user|assistant|system)\|\]|<<SYS>>|<seed:bos>(?:user|assistant|system)
    |<\|start\|>(?:user|assistant|system|developer)|<(?:extra_id_1|SPECIAL_11)>(?:User|Assistant)|\]~b\](?:user|ai)""",
    re.VERBOSE | re.IGNORECASE,
)
"""How chat templates begin a turn."""
TEXT_START = re.compile(r"\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<｜begin▁of▁sentence｜>)?\s*")
TURN_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end_of_text|>", "<|endoftext|>", "<|end|>",
    "<|end_of_turn|>", "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "</s>", "[/INST]",
)  # fmt: skip
"""How chat templates end a turn."""
RENDERED_QUESTION = re.compile(r"###[ ]?(?:Instruction|Human|User|Question):")
RENDERED_ANSWER = re.compile(r"###[ ]?(?:Response|Assistant|Answer):")
"""How turns begin in templates without special tokens; text that has both was rendered by one."""
ASKING = "User|Human|Question|Q|Customer|Client|Caller|Patient|Student|Interviewer|Frage|Pregunta|Domanda|Pergunta"
ANSWERING = (
    "Assistant|AI|Bot|Chatbot|GPT|ChatGPT|Answer|A|Agent|Support|Advisor|Doctor|Teacher|Expert|Antwort|Respuesta|"
    "Risposta|Resposta|Réponse"
)
ASKS, ANSWERS = (
    re.compile(rf"^[ \t]*(?:\*\*)?(?P<name>{names})[ \t]?\d*(?:\*\*)?:", re.MULTILINE | re.IGNORECASE)
    for names in (ASKING, ANSWERING)
)
"""How a line begins that one of two speakers says."""
OPEN_ANSWER = re.compile(rf"(?:\n[ \t]*(?:{ANSWERING})|###[ ]?(?:Response|Assistant|Answer)):\s*\Z", re.IGNORECASE)
"""How a question ends that was written for a model that continues texts."""
HUMAN_ASSISTANT = re.compile(r"(?:\A\n*|\n\n)(Human|Assistant):[ ]?")
CHAT_LINE = re.compile(
    r"\u200e?(?:\[\d{1,2}[./-]\d{1,2}[./-]\d{2,4},?\s\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s?[AaPp]\.?[Mm]\.?)?\]\s"
    r"|\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?\s\d{1,2}[:.]\d{2}(?:\s?[AaPp]\.?[Mm]\.?)?\s[-–]\s)[^:\n]{1,60}:"
)
"""A message as WhatsApp exports it, on an iPhone and on Android."""
SUBTITLE_TIME = re.compile(r"(?:\d{1,2}:)?\d{1,2}:\d{2}[,.]\d{3}\s*-->")
IMAGE_MARK = re.compile(r"(?:^|\n)[ \t]*<(image|video|audio)>|<(image|video|audio)>[ \t]*(?:\n|\Z)")
"""Where data for models that see have a picture; a tag within a line is text."""
MEDIA_ADDRESS = re.compile(r"data:(?:image|audio|video|application/pdf)[\w/.+-]*;base64,[\w+/=]{40}")
TOLD_LINES = 2
"""Lines of each speaker, or of times, that show what a file is."""
CHAT_LINES = 3
LEAST_SHARE = 0.3
"""Share of the lines that are messages, or begin with a speaker: messages may go over several lines."""


def rendered(text: str) -> str:
    """Return the mark in a text that a chat template wrote; empty if there is none."""
    match = TEMPLATE_MARKS.search(text) if "<" in text or "[" in text or "]" in text else None
    if match is None and (question := RENDERED_QUESTION.search(text)) and RENDERED_ANSWER.search(text, question.end()):
        match = question
    return match[0].strip() if match else ""


def half(text: str, *, answer: bool) -> str:
    """Return the mark in a turn that shows it to be a part of rendered text; empty if there is none.

    Args:
        text: of the turn.
        answer: whether it is an answer, which a template ends; it begins a question.
    """
    if answer:
        end = text.rstrip()
        return next((mark for mark in TURN_ENDS if end.endswith(mark) and end != mark), "")
    start = TEXT_START.match(text)
    at = start.end() if start else 0
    if text[at : at + 1] in ("<", "[", "]") and (match := TEMPLATE_MARKS.match(text, at)):
        return match[0]
    opened = OPEN_ANSWER.search(text[-40:]) if text.rstrip().endswith(":") else None
    if opened and (RENDERED_QUESTION.search(text) or ASKS.match(text, at)):
        return opened[0].strip()
    return ""


def speakers(text: str) -> tuple[str, str] | None:
    """Return how the lines of both speakers of a dialogue begin; None if the text does not begin with one of them."""
    dialogue = text.lstrip()
    begins = ASKS.match(dialogue) or ANSWERS.match(dialogue)
    if begins is None:
        return None
    asks, answers = ASKS.search(dialogue), ANSWERS.search(dialogue)
    return (asks[0].strip(), answers[0].strip()) if asks and answers else None


def marked_turns(text: str) -> list[tuple[str, str]]:
    """Return the turns in text with `Human:` and `Assistant:` after empty lines, the old form of Anthropic.

    Empty if the text is not such. An opening of the assistant's turn without an answer is left out.
    """
    if not text.lstrip("\n").startswith("Human:") or "\n\nAssistant:" not in text:
        return []
    parts = HUMAN_ASSISTANT.split(text)[1:]
    turns = [
        ("user" if speaker == "Human" else "assistant", content)
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]
    return turns[:-1] if turns[-1][0] == "assistant" and not turns[-1][1].strip() else turns


def lines_problem(lines: Sequence[str], file: str) -> str:
    """Say why the first lines of a file are not rows, and what to do; empty if they may be.

    Args:
        lines: the lines that are not blank.
        file: its path.
    """
    turns = '{"role": "user", "content": …}, {"role": "assistant", "content": …}'
    if lines and (lines[0].strip() == "WEBVTT" or sum(map(bool, map(SUBTITLE_TIME.match, lines))) >= TOLD_LINES):
        return (
            "the lines are subtitles with numbers and times, which would be learned: take them out, "
            rf"sed -E '/^[0-9]+\r?$|-->|^WEBVTT/d' {file} > text.txt, and set data.sample_by=document"
        )
    if _are_most(sum(map(bool, map(CHAT_LINE.match, lines))), lines, CHAT_LINES):
        return (
            "the lines are messages of a chat, as WhatsApp exports it, and each would be a row without the message "
            f'before it: write one conversation a line, {{"messages": [{turns}]}}; '
            "data.sample_by=document learns the whole chat as plain text"
        )
    questions, answers = ([match for line in lines if (match := regex.match(line))] for regex in (ASKS, ANSWERS))
    if min(len(questions), len(answers)) >= TOLD_LINES and _are_most(len(questions) + len(answers), lines, TOLD_LINES):
        return (
            f"the lines are a dialogue ({questions[0][0].strip()!r} and {answers[0][0].strip()!r}), and each would be "
            f"a row without the line before it: write each question with its answer as a row, "
            '{"prompt": …, "completion": …}; data.sample_by=document format=text learns the file as plain text'
        )
    return ""


def _are_most(count: int, lines: Sequence[str], least: int) -> bool:
    return count >= least and count >= LEAST_SHARE * len(lines)
