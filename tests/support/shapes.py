"""Shapes of data as people publish them, and what a run makes of each; writes docs/reference/data-shapes.md.

python -m tests.support.shapes    runs the data stage of every shape and writes the page; `make reference` does too
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from framework import FrameworkError, testing
from framework.api.data import Data
from framework.api.plan import Plan
from framework.api.records import Example
from framework.api.selection import Selection
from framework.config.reference import escape
from framework.data.stage import load_data

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "data-shapes.md"
ASKED, ANSWERED = "Which city is the capital of Peru?", "Lima is the capital of Peru."
CALL = {"name": "capital", "arguments": {"country": "Peru"}}
PARAMETERS = {"type": "object", "properties": {"country": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "capital", "description": "d", "parameters": PARAMETERS}}
HEAD = f"""\
<!-- Made by `make reference` out of tests/support/shapes.py; a test runs every shape. -->
# Shapes of data

What `data=local_file` with `format=auto` makes of data as people publish them, each a row of this question and answer:
"{ASKED} {ANSWERED}" Search for a name or a field. The message of a run
also says what to do.
"""
COMMAND = re.compile(r"[:,] (?:python -c|sed|tr|iconv) .*")
ADVICE = re.compile(r": (?:write|make|set|choose|take|if|data\.|format=|method=).*")


def said(asked: str = "user", answered: str = "assistant", who: str = "role", what: str = "content") -> list[Any]:
    """Return the two turns, by the names of a format."""
    return [{who: asked, what: ASKED}, {who: answered, what: ANSWERED}]


@dataclass(frozen=True)
class Shape:
    """A shape of data.

    Attributes:
        name: what people know it by.
        content: a row; or text or bytes of the file; or a function that writes into a folder and returns the path.
        file: the name of the file.
    """

    name: str
    content: Mapping[str, Any] | str | bytes | Callable[[Path], Path]
    file: str = "rows.jsonl"

    def write(self, folder: Path) -> Path:
        """Write it into a folder."""
        if callable(self.content):
            return self.content(folder)
        path = folder / self.file
        content = json.dumps(self.content, ensure_ascii=False) if isinstance(self.content, Mapping) else self.content
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


def _parquet(folder: Path, name: str, row: Mapping[str, Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row)]), path)
    return path


def _hub_folder(folder: Path) -> Path:
    for split in ("test", "train", "validation"):
        _parquet(folder, f"data/{split}-00000-of-00001.parquet", {"prompt": ASKED, "completion": ANSWERED})
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    return folder


def _saved(folder: Path) -> Path:
    for split in ("test", "train"):
        _parquet(folder, f"{split}/data.parquet", {"prompt": ASKED, "completion": ANSWERED})
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}', encoding="utf-8")
    return folder


def _nulls(folder: Path) -> Path:
    turns = [turn | {"tool_calls": None, "name": None} for turn in said()]
    return _parquet(folder, "rows.parquet", {"messages": turns, "meta": {"a": 1}})


ALPACA = {"instruction": ASKED, "input": "", "output": ANSWERED}
RENDERED = f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{ANSWERED}<|im_end|>\n"
FINDINGS = [
    Shape("Alpaca", ALPACA),
    Shape("Alpaca with its rendered text", {**ALPACA, "text": f"### Instruction:\n{ASKED}\n\n### Response:\n"}),
    Shape("OpenAI messages with weights", {"messages": [
        said()[0], {"role": "assistant", "content": "Hm.", "weight": 0}, *said()
    ]}),
    Shape("OpenAI tools", {"messages": [
        said()[0],
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {**CALL, "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "Lima"}, said()[1],
    ], "tools": [TOOL], "parallel_tool_calls": False}),
    Shape("OpenAI preference", {
        "input": {"messages": said()[:1], "tools": [], "parallel_tool_calls": True},
        "preferred_output": said()[1:], "non_preferred_output": [{"role": "assistant", "content": "No."}],
    }),
    Shape("Parts of text", {"messages": [
        {"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in said()
    ]}),
    Shape("Parts with an image", {"messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, said()[1]
    ]}),
    Shape("LLaMA-Factory, images", {"messages": said(), "images": ["a.jpg"]}),
    Shape("LLaMA-Factory, audio", {"messages": said(), "audios": ["a.wav"]}),
    Shape("Anthropic", {"system": "Be brief.", "messages": said()}),
    Shape("Anthropic tool_use", {"messages": [
        said()[0], {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}
    ]}),
    Shape("Gemini contents", {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": ASKED}]}, {"role": "model", "parts": [{"text": ANSWERED}]}],
    }),
    Shape("ShareGPT with more keys", {
        "id": "1", "conversations": said("human", "gpt", "from", "value"), "lang": "en", "score": 0.5
    }),
    Shape("ShareGPT items", {"id": "1", "items": said("human", "gpt", "from", "value")}),
    Shape("ShareGPT that begins with the model", {
        "conversations": [{"from": "gpt", "value": "Hello"}, *said("human", "gpt", "from", "value")]
    }),
    Shape("ShareGPT that ends with the user", {"conversations": said("human", "gpt", "from", "value")[:1]}),
    Shape("prompt, response", {"prompt": ASKED, "response": ANSWERED}),
    Shape("question, answer (GSM8K)", {"question": ASKED, "answer": ANSWERED}),
    Shape("input, output", {"input": ASKED, "output": ANSWERED}),
    Shape("instruction, response", {"instruction": ASKED, "response": ANSWERED}),
    Shape("query, response (MetaMath)", {"type": "x", "query": ASKED, "original_question": "?", "response": ANSWERED}),
    Shape("problem, solution", {"problem": ASKED, "solution": ANSWERED, "source": "olympiads"}),
    Shape("problem, solution, answer", {"problem": ASKED, "solution": ANSWERED, "answer": "Lima"}),
    Shape("Dolly", {"instruction": ASKED, "context": "Peru", "response": ANSWERED, "category": "open_qa"}),
    Shape("Orca", {"id": "1", "system_prompt": "Be brief.", "question": ASKED, "response": ANSWERED}),
    Shape("SQuAD", {"context": "C", "question": ASKED, "answers": {"text": [ANSWERED], "answer_start": [0]}}),
    Shape("Text rendered by ChatML", {"text": RENDERED}),
    Shape("Text rendered by Llama 2", {"text": f"<s>[INST] {ASKED} [/INST] {ANSWERED} </s>"}),
    Shape("Text rendered by Llama 3", {"text": f"<|start_header_id|>user<|end_header_id|>\n\n{ASKED}<|eot_id|>"}),
    Shape("Text rendered by Gemma", {"text": f"<start_of_turn>user\n{ASKED}<end_of_turn>"}),
    Shape("UltraChat", {"prompt": ASKED, "prompt_id": "1", "messages": said()}),
    Shape("UltraFeedback", {
        "prompt": ASKED, "chosen": said(), "rejected": [said()[0], {"role": "assistant", "content": "No."}],
        "messages": said(), "score_chosen": 9.0,
    }),
    Shape("HH-RLHF", {
        "chosen": f"\n\nHuman: {ASKED}\n\nAssistant: {ANSWERED}", "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: No."
    }),
    Shape("KTO, wanted", {"prompt": ASKED, "completion": ANSWERED, "label": True}),
    Shape("KTO, not wanted", {"prompt": ASKED, "completion": ANSWERED, "label": False}),
    Shape("KTO with messages, not wanted", {"messages": said(), "label": False}),
    Shape("KTO in a CSV, not wanted", f"prompt,completion,label\n{ASKED},{ANSWERED},False\n", "rows.csv"),
    Shape("OpenAssistant's message tree", {
        "message_id": "1", "parent_id": None, "text": ASKED, "role": "prompter", "lang": "en"
    }),
    Shape("dialog of texts", {"dialog": [ASKED, ANSWERED]}),
    Shape("xLAM", {
        "query": ASKED, "answers": json.dumps([CALL]),
        "tools": json.dumps([{"name": "capital", "description": "d", "parameters": {"country": {"type": "str"}}}]),
    }),
    Shape("JSON by split", json.dumps({"train": [ALPACA], "test": [ALPACA]}), "rows.json"),
    Shape("JSON by column", json.dumps({"instruction": [ASKED], "output": [ANSWERED]}), "rows.json"),
    Shape("JSON by index", json.dumps({"0": ALPACA, "1": ALPACA}), "rows.json"),
    Shape("JSON with a data key", json.dumps({"version": "1.0", "data": [ALPACA]}), "rows.json"),
    Shape("Objects over several lines", f"{json.dumps(ALPACA, indent=2)}\n{json.dumps(ALPACA, indent=2)}\n"),
    Shape("Two objects on a line", f"{json.dumps(ALPACA)} {json.dumps(ALPACA)}\n"),
    Shape("CSV with capitals", f"Instruction,Input,Output\n{ASKED},,{ANSWERED}\n", "rows.csv"),
    Shape("CSV without names", f"{ASKED},{ANSWERED}\n{ASKED},{ANSWERED}\n", "rows.csv"),
    Shape("CSV with an index", f"Unnamed: 0,question,answer\n0,{ASKED},{ANSWERED}\n", "rows.csv"),
    Shape("CSV in Latin-1", f"question,answer\n{ASKED},é\n".encode("latin-1"), "rows.csv"),
    Shape("Parquet with nulls and a struct", _nulls),
    Shape("Clone of a Hub folder", _hub_folder),
    Shape("save_to_disk", _saved),
    Shape("Spreadsheet", b"PK\x03\x04", "rows.xlsx"),
    Shape("Plain text", {"text": ANSWERED, "url": "https://example.org"}),
]  # fmt: skip
"""What was tried in November 2026: data of LLaMA-Factory, and the shapes that are frequent on the Hub."""
SEARCHED = [
    Shape("Cohere, capital roles", {"messages": said("User", "Chatbot")}),
    Shape("LIMA, a list of texts", {"conversations": [ASKED, ANSWERED], "source": "stackexchange"}),
    Shape("Capybara, pairs in a list", {"source": "x", "conversation": [{"input": ASKED, "output": ANSWERED}]}),
    Shape("Self-Instruct, instances", {"instruction": ASKED, "instances": [{"input": "", "output": ANSWERED}]}),
    Shape("FLAN, inputs and targets", {"inputs": ASKED, "targets": ANSWERED, "task": "qa"}),
    Shape("TRL, stepwise supervision", {"prompt": ASKED, "completions": [ANSWERED], "labels": [True]}),
    Shape("TRL, prompts alone", {"prompt": ASKED}),
    Shape("Axolotl, segments", {"segments": [{"label": True, "text": ANSWERED}]}),
    Shape("Tokens", {"input_ids": [1, 2], "labels": [-100, 2]}),
    Shape("Bedrock conversation", {
        "schemaVersion": "bedrock-conversation-2024", "system": [{"text": "Be brief."}],
        "messages": [{"role": turn["role"], "content": [{"text": turn["content"]}]} for turn in said()],
    }),
    Shape("HelpSteer, rated answers", {"prompt": ASKED, "response": ANSWERED, "helpfulness": 3, "verbosity": 2}),
    Shape("PKU-SafeRLHF, two answers", {"prompt": ASKED, "response_0": ANSWERED, "response_1": "No."}),
    Shape("Zephyr, chosen and rejected messages", {
        "prompt": ASKED, "chosen_messages": said(), "rejected_messages": said()
    }),
    Shape("SAMSum", {"id": "1", "dialogue": "A: Lima?\nB: Yes.", "summary": "They agree."}),
    Shape("CNN/DailyMail", {"article": "A text.", "highlights": "Short.", "id": "1"}),
    Shape("sql-create-context", {"question": ASKED, "context": "CREATE TABLE c", "answer": ANSWERED}),
    Shape("RACE, with choices", {"article": "A", "question": ASKED, "options": ["Lima", "Cusco"], "answer": "A"}),
    Shape("MMLU", {"question": ASKED, "subject": "s", "choices": ["Lima", "Cusco"], "answer": 0}),
    Shape("MBPP", {"text": "Write a function.", "code": "def f(): ...", "test_list": ["f()"]}),
    Shape("HumanEval", {"prompt": "def f():", "canonical_solution": "    return 1\n", "test": "assert f()"}),
    Shape("OpenAI evals", {"input": said()[:1], "ideal": ANSWERED}),
    Shape("Pairs of languages", {"translation": {"en": ASKED, "de": ANSWERED}}),
    Shape("Classification", {"text": ASKED, "label": 1}),
    Shape("Guanaco", {"text": f"### Human: {ASKED}### Assistant: {ANSWERED}"}),
    Shape("LLaVA", {"id": "1", "image": "a.jpg", "conversations": said("human", "gpt", "from", "value")}),
    Shape("Reasoning beside the answer", {"question": ASKED, "reasoning": "Peru …", "answer": ANSWERED}),
    Shape("The Stack, content", {"content": "print(1)", "lang": "Python", "size": 8}),
]  # fmt: skip
"""What a search of documentation and code found: Axolotl, TRL, Cohere, Together, Bedrock, data sets of the Hub."""
NO = {"role": "assistant", "content": "No."}
_PAIR = {"chosen": ANSWERED, "rejected": "No."}
TREE = {"message_tree_id": "1", "prompt": {"text": ASKED, "role": "prompter", "replies": [{"text": ANSWERED}]}}
AUDITED = [
    Shape("orca_dpo_pairs", {"system": "Be brief.", "question": ASKED, **_PAIR}),
    Shape("argilla, preference", {"input": ASKED, **_PAIR, "generations": [ANSWERED, "No."], "rating": [9, 2]}),
    Shape("Four rated answers", {"instruction": ASKED, "models": ["a"], "completions": [{"response": ANSWERED}]}),
    Shape("HelpSteer3, preference", {
        "context": said()[:1], "response1": ANSWERED, "response2": "No.", "overall_preference": -2
    }),
    Shape("Nectar", {"prompt": f"\n\nHuman: {ASKED}\n\nAssistant: ", "answers": [
        {"answer": ANSWERED, "rank": 1.0, "model": "x"}, {"answer": "No.", "rank": 2.0, "model": "y"}
    ]}),
    Shape("Nectar, all answers tie", {"prompt": ASKED, "answers": [
        {"answer": ANSWERED, "rank": 1.0}, {"answer": "No.", "rank": 1.0}
    ]}),
    Shape("UltraFeedback, four scores", {"instruction": ASKED, "completions": [
        {"response": text, "overall_score": score} for text, score in (("No.", 2.0), (ANSWERED, 8.0), ("Hm.", 4.0))
    ]}),
    Shape("PKU-SafeRLHF", {
        "prompt": ASKED, "response_0": "No.", "response_1": ANSWERED, "better_response_id": 1, "safer_response_id": 1
    }),
    Shape("PKU-SafeRLHF, better and safer disagree", {
        "prompt": ASKED, "response_0": "No.", "response_1": ANSWERED, "better_response_id": 1, "safer_response_id": 0
    }),
    Shape("LLaMA-Factory's ranking, Alpaca", {"instruction": ASKED, "input": "", **_PAIR}),
    Shape("LLaMA-Factory's ranking, ShareGPT", {
        "conversations": said("human", "gpt", "from", "value")[:1],
        "chosen": {"from": "gpt", "value": ANSWERED}, "rejected": {"from": "gpt", "value": "No."},
    }),
    Shape("SHP", {"history": ASKED, "human_ref_A": ANSWERED, "human_ref_B": "No.", "labels": 1}),
    Shape("Chatbot Arena", {"conversation_a": said(), "conversation_b": [said()[0], NO], "winner": "model_a"}),
    Shape("Chatbot Arena, a tie", {"conversation_a": said(), "conversation_b": said(), "winner": "tie"}),
    Shape("LMSYS, WildChat", {"conversation_id": "1", "model": "x", "conversation": [
        {**turn, "language": "English", "redacted": False} for turn in said()
    ], "turn": 1}),
    Shape("Magpie", {"uuid": "1", "instruction": ASKED, "response": ANSWERED, "conversations": said(
        "human", "gpt", "from", "value"
    ), "difficulty": "easy"}),
    Shape("s1K", {"question": ASKED, "solution": ANSWERED, "thinking_trajectories": ["Peru …"], "attempt": "Lima."}),
    Shape("OpenThoughts", {"system": "Be brief.", "conversations": said("user", "assistant", "from", "value")}),
    Shape("SmolTalk 2", {"messages": said(), "chat_template_kwargs": {"enable_thinking": False}, "source": "x"}),
    Shape("Hermes function calling", {
        "conversations": [
            {"from": "system", "value": "You call functions."}, *said("human", "gpt", "from", "value")
        ], "tools": json.dumps([TOOL]), "category": "x",
    }),
    Shape("Glaive v2", {"system": "SYSTEM: s", "chat": f"USER: {ASKED}\n\n\nASSISTANT: {ANSWERED} <|endoftext|>"}),
    Shape("BoolQ", {"question": ASKED, "passage": "P", "answer": True}),
    Shape("MedMCQA", {"question": ASKED, "opa": "Lima", "opb": "Cusco", "cop": 0, "exp": "Peru …"}),
    Shape("SST-2", {"sentence": ASKED, "label": 1, "idx": 0}),
    Shape("KTO as 0 and 1, wanted", {"prompt": ASKED, "completion": ANSWERED, "label": 1}),
    Shape("KTO as 0 and 1, not wanted", {"question": ASKED, "answer": "No.", "label": 0}),
    Shape("kto_tag of LLaMA-Factory, not wanted", {"messages": said(), "kto_tag": False}),
    Shape("KTO, a thumb", {"prompt": ASKED, "completion": ANSWERED, "label": "thumbs up"}),
    Shape("KTO, two labels that disagree", {"prompt": ASKED, "completion": ANSWERED, "label": 1, "kto_tag": False}),
    Shape("A label that says something else", {"instruction": ASKED, "output": ANSWERED, "label": "geography"}),
    Shape("gpt-oss channels", {"messages": [
        said()[0], {"role": "assistant", "content": "Peru …", "channel": "analysis"}, {**said()[1], "channel": "final"}
    ]}),
    Shape("ms-swift, loss of a turn", {"messages": [
        said()[0], {"role": "assistant", "content": "Hm.", "loss": False}, *said()
    ]}),
    Shape("A weight between 0 and 1", {"messages": [said()[0], {**said()[1], "weight": 0.5}]}),
    Shape("LangChain", {"messages": [
        {"type": "human", "data": {"content": ASKED}}, {"type": "ai", "data": {"content": ANSWERED}}
    ]}),
    Shape("ChatGPT export", {"title": "t", "mapping": {"a": {"message": None}}, "current_node": "a"}),
    Shape("OpenAssistant's trees", TREE),
]  # fmt: skip
"""Further data sets of the Hub, labels of answers and turns, and what chat programs export."""
FORMS = ("Timestamp", "What is your question?", "What is the ideal answer?")
WHATSAPP = "[31.12.23, 21:41:03] Anna: Hi\n[31.12.23, 21:41:09] Bob: Hello\n[31.12.23, 21:42:00] Anna: Bye\n"
SUBTITLES = "1\n00:00:01,000 --> 00:00:04,000\nHello\n\n2\n00:00:05,000 --> 00:00:06,000\nBye\n"
STORED = {"index": 0, "message": {"role": "assistant", "content": ANSWERED}, "finish_reason": "stop"}


def _with_answer(part: Any) -> dict[str, Any]:
    return {"messages": [said()[0], {"role": "assistant", "content": [part, {"type": "text", "text": ANSWERED}]}]}


TOOLS_OF_PEOPLE = [
    Shape("Google Forms", ",".join(FORMS) + f"\n2025/11/30 10:01,{ASKED},{ANSWERED}\n", "rows.csv"),
    Shape("Two columns in German", f"Frage;Antwort\n{ASKED};{ANSWERED}\n", "rows.csv"),
    Shape("AI Studio", f"text_input,output\n{ASKED},{ANSWERED}\n", "rows.csv"),
    Shape("Two columns without a meaning", f"Spalte 1,Spalte 2\n{ASKED},{ANSWERED}\n", "rows.csv"),
    Shape("A helpdesk", {"id": "1", "Customer message": ASKED, "Our reply": ANSWERED, "Date": "2025-11-30"}),
    Shape("An answer as an object", {"question": ASKED, "answer": {"text": ANSWERED}}),
    Shape("An answer as a list", {"question": ASKED, "answer": [ANSWERED]}),
    Shape("TriviaQA", {"question": ASKED, "answer": {"aliases": ["Lima"], "value": ANSWERED, "type": "Entity"}}),
    Shape("Langfuse", {"id": "1", "input": {"messages": said()[:1]}, "output": said()[1]}),
    Shape("LangSmith", {"inputs": {"question": ASKED}, "outputs": {"answer": ANSWERED}, "metadata": {"a": 1}}),
    Shape("LangSmith, messages", {"inputs": {"messages": said()[:1]}, "outputs": {"messages": said()[1:]}}),
    Shape("Messages below data", {"id": "1", "data": {"messages": said()}}),
    Shape("Label Studio", {"id": 1, "data": {"prompt": ASKED}, "annotations": [
        {"result": [{"value": {"text": [ANSWERED]}, "from_name": "r", "to_name": "p", "type": "textarea"}]}
    ]}),
    Shape("Argilla", {"id": "1", "status": "completed", "fields": {"instruction": ASKED}, "responses": {
        "answer": [{"value": ANSWERED, "user_id": "u"}]
    }}),
    Shape("Argilla, flat", {"prompt": ASKED, "answer.responses": [ANSWERED], "answer.responses.users": ["u"]}),
    Shape("OpenAI, stored completions", {"object": "chat.completion", "messages": said()[:1], "choices": [STORED]}),
    Shape("OpenAI, request and response", {"request": {"messages": said()[:1]}, "response": {"choices": [STORED]}}),
    Shape("OpenAI, a batch", {"custom_id": "1", "method": "POST", "body": {"model": "x", "messages": said()[:1]}}),
    Shape("Prodigy", {"prompt": ASKED, "response": ANSWERED, "answer": "accept", "_task_hash": 1}),
    Shape("The role bot", {"messages": said(answered="bot")}),
    Shape("The role prompter", {"messages": said(asked="prompter")}),
    Shape("Vertex chat, author and content", {"context": "Be brief.", "messages": said("user", "bot", "author")}),
    Shape("Parquet with a struct of lists", lambda folder: _parquet(folder, "rows.parquet", {
        "conversations": {"from": ["human", "gpt"], "value": [ASKED, ANSWERED]}
    })),
    Shape("Parts of thoughts", _with_answer({"type": "thinking", "thinking": "Peru …", "signature": "x"})),
    Shape("Parts of OpenAI's responses", {"messages": [
        {"role": "user", "content": [{"type": "input_text", "text": ASKED}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": ANSWERED}]},
    ]}),
    Shape("Gemini, a functionCall", {"contents": [
        {"role": "user", "parts": [{"text": ASKED}]}, {"role": "model", "parts": [{"functionCall": CALL}]}
    ]}),
    Shape("Rendered by ChatML, in halves", {
        "prompt": f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n", "completion": f"{ANSWERED}<|im_end|>"
    }),
    Shape("An end of a turn in an answer", {"prompt": ASKED, "completion": f"{ANSWERED}</s>"}),
    Shape("Rendered by Alpaca, in halves", {
        "prompt": f"### Instruction:\n{ASKED}\n\n### Response:", "completion": ANSWERED
    }),
    Shape("Anthropic's old form", {"prompt": f"\n\nHuman: {ASKED}\n\nAssistant:", "completion": f" {ANSWERED}"}),
    Shape("A dialogue by speakers", {"text": f"User: {ASKED}\nAssistant: {ANSWERED}"}),
    Shape("Questions and answers, line by line", f"Q: {ASKED}\nA: {ANSWERED}\nQ: So?\nA: Yes.\n", "rows.txt"),
    Shape("WhatsApp on an iPhone", WHATSAPP, "_chat.txt"),
    Shape("WhatsApp on Android", re.sub(r"\[(.*?), (\d\d:\d\d):\d\d\]", r"\1, \2 -", WHATSAPP), "_chat.txt"),
    Shape("Subtitles", SUBTITLES, "film.txt"),
    Shape("A mark of an image without images", {"messages": [
        {"role": "user", "content": f"<image>\n{ASKED}"}, said()[1]
    ]}),
    Shape("An image as base64", {"messages": [
        {"role": "user", "content": f"{ASKED} data:image/png;base64,{'iVBORw0K' * 20}"}, said()[1]
    ]}),
    Shape("A thumb beside the answer", {"prompt": ASKED, "response": ANSWERED, "thumbs": "down"}),
    Shape("CSV with CR line ends", f"question,answer\r{ASKED},{ANSWERED}\r", "rows.csv"),
    Shape("JSON lines with commas", f"{json.dumps(ALPACA)},\n{json.dumps(ALPACA)}\n"),
    Shape("JSON in JSON", f"{json.dumps(json.dumps(ALPACA))}\n"),
    Shape("Telegram", {"name": "Anna", "type": "personal_chat", "messages": [
        {"id": 1, "type": "message", "from": "Anna", "text": "Hi"},
        {"id": 2, "type": "message", "from": "Bob", "text": "Hello"},
    ]}),
    Shape("Discord", {"guild": {"name": "g"}, "messages": [
        {"id": "1", "content": "Hi", "author": {"name": "anna"}},
        {"id": "2", "content": "Hello", "author": {"name": "bob"}},
    ]}),
    Shape("Slack", {"type": "message", "user": "U1", "text": "Hi", "ts": "1.2"}),
    Shape("A pair without the worse answer", {"prompt": ASKED, "chosen": ANSWERED}),
    Shape("A pair of null", {"prompt": ASKED, "chosen": None, "rejected": "No."}),
    Shape("A pair without a prompt", {"prompt": None, "chosen": ANSWERED, "rejected": "No."}),
    Shape("A pair beside another prompt", {"prompt": "Why?", "chosen": said(), "rejected": [said()[0], NO]}),
    Shape("A rank that is not a number", {"prompt": ASKED, "answers": [
        {"answer": ANSWERED, "rank": 1.0}, {"answer": "No.", "rank": float("nan")}
    ]}),
]  # fmt: skip
"""What tools of people write: forms, trackers of prompts, annotation, chats, subtitles."""
SHAPES = (*FINDINGS, *SEARCHED, *AUDITED, *TOOLS_OF_PEOPLE)


@dataclass(frozen=True)
class Outcome:
    """What a run made of a shape: `refused` with a message, or `data` with the conversations by where they are."""

    refused: str
    data: Data | None
    examples: dict[str, Example]

    @property
    def line(self) -> str:
        """Say it in one line."""
        if self.data is None:
            return f"refused: {self.refused}"
        result = self.data.result
        said = [f"{name}, {rows} row{'s' * (rows > 1)}" for name, rows in result.formats.items()]
        said += [f"not read: {', '.join(result.unread_fields)}"] if result.unread_fields else []
        said += [f"{result.rejected_answers} rejected answer left out"] if result.rejected_answers else []
        return "; ".join([*said, *result.notes])


def shapes_plan(folder: Path) -> Plan:
    """Return the plan of a run that reads a file, with no validation and no audit; `outcome` puts its own file in."""
    words = ["data=local_file", f"data.path='{folder}'", "data.validation_split=0", "audit=[]"]
    return testing.plan(words, run_dir=folder / "run")


def outcome(shape: Shape, plan: Plan, folder: Path) -> Outcome:
    """Run the data stage of a shape; paths in messages become those of the working folder."""
    folder = folder.resolve()
    folder.mkdir(parents=True)
    config = dataclasses.replace(plan.data.config, path=str(shape.write(folder)))
    plan = dataclasses.replace(plan, data=Selection(plan.data.component, config))
    model = testing.EchoModel(plan)
    try:
        data = load_data(plan, model)
    except FrameworkError as error:
        return Outcome(_short(str(error), folder), None, {})
    notes = [_short(note, folder) for note in data.result.notes]
    result = dataclasses.replace(data.result, notes=notes)
    return Outcome("", dataclasses.replace(data, result=result), model.examples)


def _short(text: str, folder: Path) -> str:
    """Leave out what differs from one machine to another, and the name of the row."""
    text = text.replace(f"{folder}/", "").replace(str(folder), "FOLDER")
    return re.sub(r"^rows\.\w+:(?:(?:item |row )?\d+:)? ", "", text).replace("\n", " ⏎ ")


def page(folder: Path) -> str:
    """Return the page of all shapes, made in a folder: by the format that reads them, the override, or the refusal."""
    read: dict[str, list[str]] = {}
    typed: list[str] = []
    refused: dict[str, list[str]] = {}
    plan = shapes_plan(folder)
    for number, shape in enumerate(SHAPES):
        made = outcome(shape, plan, folder / str(number))
        names = list(shape.content) if isinstance(shape.content, Mapping) else []
        shown = ", ".join(names) or ("folder" if callable(shape.content) else shape.file)
        if made.data is not None:
            own_format = " and ".join(made.data.result.formats)
            read.setdefault(own_format, []).append(f"{shape.name} ({shown})")
        elif override := re.findall(r'"(format\.columns=.*?)"', made.refused):
            typed.append(f'- {shape.name} ({shown}): `"{override[0]}"`')
        else:
            refused.setdefault(_reason(made.refused, names), []).append(f"{shape.name} ({shown})")
    lines = [HEAD, "## Read as they are\n", *_grouped(read), "\n## Read with an override\n", *typed]
    return "\n".join(
        [*lines, "\n## Refused\n", *_grouped({"; ".join(shapes): [reason] for reason, shapes in refused.items()}), ""]
    )


def _grouped(groups: Mapping[str, list[str]]) -> list[str]:
    return [f"- {escape(head)}: {escape('; '.join(shapes))}." for head, shapes in groups.items()]


def _reason(refused: str, names: list[str]) -> str:
    """Return why a shape is refused, in the same words for the same reason; what to do is in the message of a run."""
    text = refused.removeprefix(f"no format fits a row with the fields {', '.join(names)}")
    while re.search(r"\([^()]*\)", text):
        text = re.sub(r" ?\([^()]*\)", "", text)
    text = COMMAND.sub("", text.removeprefix(": ")).partition("; ")[0].partition(", docs/")[0]
    text = ADVICE.sub("", f": {text}").removeprefix(": ") or "no format fits its fields"
    return re.sub(r"^\S+:\d+: |, plugins=.*", "", text).rstrip(".:")


if __name__ == "__main__":
    testing.install()
    with tempfile.TemporaryDirectory() as made:
        PAGE.write_text(page(Path(made)), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
