"""`python -m framework parity URL RUN_DIR`: whether an endpoint serves the model that a run trained."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from framework import FrameworkError
from framework.api import Model, SavedRun, Scored, count, display_run, unknown, visible
from framework.api.program import CommandParser, read_run, restored
from framework_plugins.exports.config import ParityCommandConfig
from framework_plugins.exports.endpoint.answers import ALTERNATIVES, ServedAnswer, read_answer
from framework_plugins.exports.endpoint.evidence import (
    MAX_NEW_TOKENS,
    Scorers,
    file_scorer,
    model_scorer,
    observe,
    questions,
)
from framework_plugins.exports.endpoint.verdict import Fault, Judgement, Served, export_noise
from framework_plugins.exports.parity.conversations import RenderedConversation
from framework_plugins.exports.parity.record import PARITY_FILE
from framework_plugins.lib.chat_endpoint import ChatEndpoint, NoReplyError

NOT_PARITY = 3
"""The exit code if an outcome of `--fail-on` was found."""
QUESTIONS = 24
LEAST_QUESTIONS = 4
"""Asked in any case: one answer shows no fault of the template or of sampling."""
REPEATED = 6
"""Questions that are asked twice if there are no log-probabilities, which would show sampling."""
TIMEOUT, RETRIES = 120.0, 4
OUTCOMES = {"base": Served.base, "other": Served.other, "unknown": Served.unknown} | {
    fault.value: fault for fault in Fault
}
"""The words of `--fail-on`."""


@dataclass(frozen=True)
class ParityResult:
    """What was found.

    Attributes:
        endpoint: its address.
        model: the model that was asked for.
        served: what it serves.
        questions: how many were asked.
        log_probs: whether the endpoint gave log-probabilities.
        distance: mean distance from the trained model, the base and the file: in nats, or as shares of tokens.
        faults: what is wrong besides the weights, by its word for `--fail-on`.
        advice: what would tell more.
    """

    endpoint: str
    model: str
    served: Served
    questions: int
    log_probs: bool
    distance: Mapping[str, float]
    faults: Mapping[str, str]
    advice: str

    @property
    def outcomes(self) -> set[str]:
        """The words of `--fail-on` that are true."""
        return {word for word, outcome in OUTCOMES.items() if outcome is self.served} | set(self.faults)

    def lines(self) -> Iterator[str]:
        """Yield it as text."""
        yield f"{self.endpoint}, model {visible(self.model, ' ')}: {self.served.value}"
        unit = "nats" if self.log_probs else "of the tokens"
        names = {"trained": "the trained model", "base": "the base", "file": "the file"}
        shown = [f"{value:.3f} {unit} from {names[name]}" for name, value in self.distance.items()]
        yield f"  {count(self.questions, 'answer')}: {', '.join(shown)}"
        for fault, text in self.faults.items():
            yield f"  {fault}: {text}"
        if self.advice:
            yield f"  {self.advice}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return vars(self) | {"served": self.served.value, "outcomes": sorted(self.outcomes)}


class ParityCommand:
    """Compares an endpoint with a run."""

    def __init__(self, config: ParityCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Ask the endpoint and print what it serves; return 3 for an outcome of `--fail-on`."""
        parser = _parser()
        given = parser.read(arguments)
        failing = {word for word in given.fail_on.split(",") if word}
        for word in sorted(failing - OUTCOMES.keys()):
            parser.error(f"--fail-on: {unknown('outcome', word, OUTCOMES)}")
        if given.questions < LEAST_QUESTIONS:
            parser.error(f"--questions {given.questions} must be at least {LEAST_QUESTIONS}")
        file = Path(given.gguf).expanduser().absolute() if given.gguf else None
        if file is not None and not file.is_file():
            raise FrameworkError(f"--gguf {file}: the file does not exist")
        key = os.environ.get(given.key_env, "").strip() if given.key_env else ""
        if given.key_env and not key:
            raise FrameworkError(f"--key-env {given.key_env}: the environment has no such variable, or it is empty")
        run = read_run(given.run_dir)
        with endpoint_of(given.url, given.model, key) as endpoint:
            print(f"{display_run(run.folder)}: loading the model …", file=sys.stderr)  # noqa: T201
            with restored(run, given.overrides) as (plan, model):
                asked = questions(plan, model)[: given.questions]
                result = compare(endpoint, run, model, asked, file=file, log_probs=given.log_probs)
        failures = failing & result.outcomes
        if given.json:
            print(json.dumps(result.as_json() | {"failures": sorted(failures)}, indent=1))  # noqa: T201
        else:
            print("\n".join(result.lines()))  # noqa: T201
        return NOT_PARITY if failures else 0


def _parser() -> CommandParser:
    parser = CommandParser("parity", ParityCommandConfig.__doc__)
    parser.add_argument("url", metavar="URL", help="the address of the endpoint: http://localhost:8000/v1")
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the folder of the run")
    parser.add_overrides("settings to change from those of the run, such as trainer.device=cpu")
    parser.add_argument("--model", metavar="NAME", help="the model to ask for; default: the only one there")
    parser.add_argument("--gguf", metavar="FILE", help="the file that is served, which answers are compared with too")
    parser.add_argument("--key-env", metavar="NAME", help="the environment variable that holds the key; default: none")
    parser.add_argument(
        "--questions", type=int, default=QUESTIONS, metavar="N", help="at most N questions; default: %(default)s"
    )
    parser.add_argument(
        "--no-logprobs", dest="log_probs", action="store_false", help="compare the texts of answers alone"
    )
    parser.add_argument(
        "--fail-on", default=",".join(OUTCOMES), metavar="WORDS",
        help="outcomes with exit code 3, a comma between two; default: all, %(default)s",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


@contextmanager
def endpoint_of(url: str, model: str | None, key: str) -> Iterator[ChatEndpoint]:
    """Open the client of an endpoint; every error of it is one line.

    Raises:
        FrameworkError: the address is not a URL, the endpoint does not answer, or it does not have the model.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FrameworkError(f"{url} is not the address of an endpoint, such as http://localhost:8000/v1")
    base_url = url if parts.path.strip("/") else f"{url.rstrip('/')}/v1"
    fields = {"seed": 0, "max_tokens": MAX_NEW_TOKENS}
    client = ChatEndpoint(base_url, model or "", key=key, timeout=TIMEOUT, retries=RETRIES, request_fields=fields)
    with client as endpoint:
        try:
            names = endpoint.models()
            if model is None and len(names) != 1:
                raise FrameworkError(f"{endpoint.name} has {count(len(names), 'model')}: --model NAME, of {names}")
            if model is not None and model not in names:
                raise FrameworkError(f"--model: {unknown('model', model, names)}")
            endpoint.fields["model"] = names[0] if model is None else model
            yield endpoint
        except NoReplyError as error:
            raise FrameworkError(f"{endpoint.name} did not reply: {error}") from error


def compare(
    endpoint: ChatEndpoint,
    run: SavedRun,
    model: Model,
    asked: Sequence[RenderedConversation],
    *,
    file: Path | None = None,
    log_probs: bool = True,
) -> ParityResult:
    """Ask one question after the other until it is known what an endpoint serves.

    Args:
        endpoint: with the model to ask for.
        run: the run.
        model: with the trained weights of the run.
        asked: the questions, see `evidence.questions`.
        file: the exported file that it should serve.
        log_probs: whether to ask for log-probabilities.

    Raises:
        NoReplyError: the endpoint does not answer, or with half an answer.
    """
    with_base = has_base(model)
    judgement = Judgement(_noise(run), with_base, file is not None)
    with _scorers(model, file, with_base=with_base) as scorers:
        for place, question in enumerate(asked):
            answer = _ask(endpoint, question, log_probs=log_probs)
            judgement.add(observe(question, answer, model, scorers))
            if not answer.tokens and place < REPEATED:
                judgement.repeats.append(answer.text != _ask(endpoint, question, log_probs=False).text)
            if place + 1 >= LEAST_QUESTIONS and judgement.served is not Served.unknown and judgement.shows_sampling:
                break
    with_log_probs = any(observation.with_log_probs for observation in judgement.observations)
    return ParityResult(
        endpoint.name, endpoint.fields["model"], judgement.served, len(judgement.observations), with_log_probs,
        judgement.means(), {fault.value: text for fault, text in judgement.faults()},
        _advice(judgement, with_log_probs=with_log_probs, asked_for=log_probs),
    )  # fmt: skip


def _ask(endpoint: ChatEndpoint, question: RenderedConversation, *, log_probs: bool) -> ServedAnswer:
    wanted = {"logprobs": True, "top_logprobs": ALTERNATIVES} if log_probs else {}
    request = question.request
    return read_answer(endpoint.chat(request.pop("messages"), **request, **wanted))


def _noise(run: SavedRun) -> float:
    """Return the noise of the run's exports; the largest, since nobody says which is served."""
    file = run.folder / PARITY_FILE
    records = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return export_noise([record["kl"] for record in records if not record["problem"] and "kl" in record])


def has_base(model: Model) -> bool:
    """Whether a model can answer as its base."""
    try:
        with model.as_base():
            return True
    except FrameworkError:  # a model that was trained whole: its base is not in memory
        return False


@contextmanager
def _scorers(model: Model, file: Path | None, *, with_base: bool) -> Iterator[Scorers]:
    trained = model_scorer(model)

    def base(prompt: Sequence[int], answer: Sequence[int]) -> Scored:
        with model.as_base():
            return trained(prompt, answer)

    if file is None:
        yield Scorers(trained, base if with_base else None, None)
        return
    with file_scorer(file) as of_file:
        yield Scorers(trained, base if with_base else None, of_file)


def _advice(judgement: Judgement, *, with_log_probs: bool, asked_for: bool) -> str:
    if judgement.is_file_missed:
        return "near the trained model, but not the file: another quantization, or an adapter that is applied in part"
    if judgement.served is Served.unknown:
        if not with_log_probs:
            return "log-probabilities would tell" + ("" if asked_for else ": leave --no-logprobs out")
        return "trained model and base are too near for so few answers: --questions N, or --gguf FILE of what is served"
    if judgement.served is Served.trained and not judgement.has_file:
        return "an adapter applied in part may look the same: --gguf FILE compares with the file itself"
    return ""
