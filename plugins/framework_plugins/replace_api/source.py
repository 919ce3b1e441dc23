"""`data=api_logs`: logged calls become rows; those that ask the same are one row, and the newest are held out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from framework import FrameworkError, Selection
from framework.api import RawData, Row, Source, count, key_of, plugins, unknown
from framework_plugins.lib.patterns import JoinedTexts
from framework_plugins.lib.secrets import PATTERNS
from framework_plugins.replace_api.config import ApiLogsConfig, Together
from framework_plugins.replace_api.exports import LoggedCall, read_calls
from framework_plugins.replace_api.turns import LeftOutError, Reason, Turn

FILES = "local_file"
"""The option of `data=` that reads files."""
DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?Z?)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\b\d{1,2}:\d\d(?::\d\d)?\b|"
    r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|"
    r"\b(?:\d{1,2}(?:st|nd|rd|th)? )?(?:january|february|march|april|may|june|july|august|september|october|november|"
    r"december)(?: \d{1,2}(?:st|nd|rd|th)?)?(?:,? \d{4})?",
    re.IGNORECASE,
)
SHOWN_MODELS = 5


@dataclass
class Request:
    """A request, and the calls that made it, the oldest first; the answer of the last one is its own."""

    where: str
    call: LoggedCall
    calls: list[LoggedCall] = field(default_factory=list)
    group: str = ""

    @property
    def answers(self) -> list[Turn]:
        """All answers that are logged, the row's own first: choices, and what was generated again."""
        return [answer for call in reversed(self.calls) for answer in call.answers]

    def row(self) -> Row:
        """Return it as a row of messages that ends with the answer."""
        tools = {"tools": self.call.tools} if self.call.tools else {}
        messages = [*self.call.turns, self.call.answers[0]]
        return Row({"messages": messages, **tools, "conversation": self.group}, self.where)


@dataclass(frozen=True)
class Logs:
    """What logs hold: the requests to train on, those that are held out, and the calls that are left out, by reason."""

    train: list[Request]
    held_out: list[Request]
    left_out: Mapping[Reason, list[str]]
    notes: tuple[str, ...]


class ApiLogs(Source):
    """Rows of logged calls."""

    def __init__(self, config: ApiLogsConfig) -> None:
        self.config = config
        files = plugins().components("data")[FILES]
        limit = {"max_row_characters": config.max_row_characters}
        self._files: Source = Selection(files, files.schema(path=config.path, **limit)).create()

    def check(self) -> None:
        """Look for the files; which rows they hold is known only after the last line."""
        self._files.check()

    def load(self) -> RawData:
        """Read all calls, group and split them."""
        raw = self._files.load()
        logs = self.read(raw.train)
        settings = self.config.models, [part.value for part in self.config.remove], self.config.held_out
        return RawData(
            [request.row() for request in logs.train],
            prompts=[request.row() for request in logs.held_out],
            key=key_of(raw.key, settings, self.config.together.value) if raw.key else "",
            places=raw.places,
            notes=logs.notes,
        )

    def read(self, rows: Iterable[Row] | None = None) -> Logs:
        """Read calls from lines, those of the files if none are given.

        Raises:
            FrameworkError: no call becomes a row, or several models answered and `data.models` chooses none.
        """
        left_out: dict[Reason, list[str]] = {}
        calls = list(self._calls(self._files.load().train if rows is None else rows, left_out))
        self._check_models(calls, left_out)
        wanted = [(place, call) for place, call in calls if not self.config.models or call.model in self.config.models]
        requests = _grouped(wanted, self.config.together)
        if len({request.group for request in requests}) <= 1:
            raise FrameworkError(
                f"data.path={self.config.path}: {_described(len(calls), requests, left_out)}. The newest conversations "
                "are held out, and it takes two: give logs with more"
            )
        train, held_out = _split(requests, self.config.held_out)
        timed = sum(call.time is not None for _, call in wanted)
        notes = [f"{_described(len(calls), requests, left_out)}; {len(held_out)} of them are held out, the newest"]
        if timed < len(wanted):
            notes.append(f"{len(wanted) - timed} of {len(wanted)} calls have no time: their order in the files decides")
        if dated := _dated_prompts(requests):
            notes.append(
                f"{dated} system prompts differ in a date only: held-out requests have dates that training never saw. "
                "Take the date out of the prompt, there and where the model will be asked, unless answers depend on it"
            )
        return Logs(train, held_out, left_out, tuple(notes))

    def _calls(self, rows: Iterable[Row], left_out: dict[Reason, list[str]]) -> Iterator[tuple[str, LoggedCall]]:
        batch: dict[str, dict[str, object]] = {}
        for row in rows:
            if row.problem:
                left_out.setdefault(Reason.unreadable, []).append(row.where)
            elif isinstance(custom_id := row.fields.get("custom_id"), str):
                # The requests and the answers of a batch are in two files, in any order.
                entry = batch.setdefault(custom_id, {"where": row.where})
                entry |= {name: row.fields[name] for name in ("body", "response", "error") if row.fields.get(name)}
            else:
                yield from self._read(row.where, row.fields, left_out)
        for entry in batch.values():
            where = str(entry.pop("where"))
            if "body" not in entry:
                left_out.setdefault(Reason.no_request, []).append(where)
            elif len(entry) == 1:
                left_out.setdefault(Reason.no_answer, []).append(where)
            else:
                yield from self._read(where, entry, left_out)

    def _read(
        self, where: str, fields: Mapping[str, object], left_out: dict[Reason, list[str]]
    ) -> Iterator[tuple[str, LoggedCall]]:
        try:
            for number, call in enumerate(read_calls(fields), start=1):
                place = where if number == 1 else f"{where}, call {number}"
                reason = call if isinstance(call, Reason) else Reason.private if self._is_private(call) else None
                if reason is None and isinstance(call, LoggedCall):
                    yield place, call
                elif reason is not None:
                    left_out.setdefault(reason, []).append(place)
        except LeftOutError as error:
            left_out.setdefault(error.reason, []).append(where)

    def _is_private(self, call: LoggedCall) -> bool:
        if not self.config.remove:
            return False
        names = {part.value for part in self.config.remove}
        text = JoinedTexts([json.dumps([call.turns, call.answers], ensure_ascii=False)])
        return any(next(text.rows(pattern), None) is not None for pattern in PATTERNS if pattern.check in names)

    def _check_models(self, calls: list[tuple[str, LoggedCall]], left_out: dict[Reason, list[str]]) -> None:
        models = Counter(call.model for _, call in calls)
        for model in self.config.models:
            if model not in models:
                raise FrameworkError(f"data.models: {unknown('model of the logs', model, models)}")
        if len(models) > 1 and not self.config.models:
            shown = ", ".join(f"{model or 'unnamed'} ({times})" for model, times in models.most_common(SHOWN_MODELS))
            raise FrameworkError(
                f"data.path={self.config.path} has the answers of {len(models)} models: {shown}. Set "
                f"data.models=[{models.most_common(1)[0][0]}] to learn from one of them, or name several"
            )
        others = [place for place, call in calls if self.config.models and call.model not in self.config.models]
        if others:
            left_out[Reason.other_model] = others


def _described(calls: int, requests: list[Request], left_out: Mapping[Reason, list[str]]) -> str:
    """Say how many calls became requests, and how many did not, with the place of the first for each reason."""
    again = sum(len(request.calls) > 1 for request in requests)
    lost = sum(map(len, left_out.values()))
    total = calls + lost - len(left_out.get(Reason.other_model, ()))
    text = f"{count(total, 'logged call')} made {count(len(requests), 'different request')}"
    text += f", {again} of which were asked several times" if again else ""
    if left_out:
        reasons = sorted(left_out.items(), key=lambda item: -len(item[1]))
        text += f"; {lost} left out: " + "; ".join(
            f"{reason} ({len(places)}, {places[0]})" for reason, places in reasons
        )
    return text


def _asked(logged: LoggedCall) -> str:
    """Return what a call asks, without dates in its system prompt: the same request of another day is the same."""
    turns = [
        {**turn, "content": DATE.sub("", turn["content"])} if turn["role"] == "system" else turn
        for turn in logged.turns
    ]
    bare = [{name: value for name, value in turn.items() if name != "tool_call_id"} for turn in turns]
    for turn in bare:
        if "tool_calls" in turn:
            turn["tool_calls"] = [call["function"] for call in turn["tool_calls"]]
    return json.dumps([bare, logged.tools], sort_keys=True)


def _grouped(calls: list[tuple[str, LoggedCall]], together: Together) -> list[Request]:
    """Return the different requests in the order of their last call, those that belong together with one group.

    The same request in two conversations joins them: a model must not have seen what it is asked.
    """
    order = sorted(range(len(calls)), key=lambda index: (calls[index][1].time or 0.0, index))
    requests: dict[str, Request] = {}
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            parents[name] = name = parents[parents[name]]
        return name

    for index in order:
        where, call = calls[index]
        asked = _asked(call)
        request = requests.pop(asked, None) or Request(where, call)
        request.where, request.call = where, call
        request.calls.append(call)
        requests[asked] = request
        names = [f"request {asked}", f"conversation {call.conversation}" if call.conversation else ""]
        names += [f"user {call.user}"] if together is Together.user and call.user else []
        for name in filter(None, names[1:]):
            parents[root(names[0])] = root(name)
    for asked, request in requests.items():
        request.group = key_of(root(f"request {asked}"))[:12]
    return [*requests.values()]


def _split(requests: list[Request], held_out: float) -> tuple[list[Request], list[Request]]:
    """Hold out the groups with the newest requests, as many as make up the share; the oldest group stays."""
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.group, []).append(request)
    newest: list[Request] = []
    latest = {group: index for index, request in enumerate(requests) for group in [request.group]}
    ordered = sorted(groups, key=latest.__getitem__, reverse=True)
    for group in ordered[:-1]:
        if newest and len(newest) + len(groups[group]) > held_out * len(requests):
            continue  # a long conversation, or a user who asks much, is left to the training
        newest += groups[group]
        if len(newest) >= held_out * len(requests):
            break
    chosen = {request.group for request in newest}
    return [request for request in requests if request.group not in chosen], [
        request for request in requests if request.group in chosen
    ]


def _dated_prompts(requests: list[Request]) -> int:
    """Return how many different system prompts are the same without their dates."""
    prompts = {turn["content"] for request in requests for turn in request.call.turns if turn["role"] == "system"}
    bare = Counter(DATE.sub("", prompt) for prompt in prompts)
    return sum(times for times in bare.values() if times > 1)
