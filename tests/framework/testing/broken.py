"""A plugin of options that each break one rule of their suite; `test_suites.py` writes it into a file of its own."""

PLUGIN = '''
import dataclasses
import json
import math
import os
import random
from dataclasses import dataclass
from pathlib import Path

import torch

from framework import Component, FrameworkError, hookimpl, metric
from framework.api.events import IssueFound, RunFailed, RunFinished, RunPlanned, RunStarted, TrainingStep
from framework.api.protocols import AnswerMetric, Logger
from framework.api.records import Answer, Artifact, Example, Finding, Message, RawData, Row
from framework.api.records import Scores, Severity, StepControl
from framework.api.schema import *
from framework.testing import EchoBackend, EchoModel

OPTIONS = []
KEPT = []


def option(base):
    def register(kind):
        schema = dataclass(type(f"{kind.__name__}Config", (base,), {"__doc__": "Doc.", "__module__": __name__}))
        globals()[schema.__name__] = schema
        name = kind.__name__.lower().removesuffix("backend")
        OPTIONS.append(Component(name, schema, f"broken_options:{kind.__name__}"))
        return kind
    return register


class Metric:
    higher_is_better = True
    needs_reference = False

    def __init__(self, config):
        self.calls = 0

    def score(self, answer, reference):
        return float(answer == "yes")


@option(MetricConfig)
class Undecided(Metric):
    higher_is_better = "yes"

@option(MetricConfig)
class Endless(Metric):
    def score(self, answer, reference):
        return math.inf if len(answer) > 1000 else 0.0

@option(MetricConfig)
class Empty(Metric):
    def score(self, answer, reference):
        return 1 / len(answer)

@option(MetricConfig)
class Word(Metric):
    def score(self, answer, reference):
        return True

@option(MetricConfig)
class Peeks(Metric):
    def score(self, answer, reference):
        return float(answer == (reference or ""))

@option(MetricConfig)
class Counts(Metric):
    def score(self, answer, reference):
        self.calls += 1
        return float(self.calls)

class AllAtOnce(AnswerMetric):
    def __init__(self, config):
        pass

    def score_all(self, answers):
        return Scores([float(one.answer == "yes") for one in answers])

@option(MetricConfig)
class Ranks(AllAtOnce):
    def score_all(self, answers):
        return Scores([float(number) for number, one in enumerate(answers)])

@option(MetricConfig)
class Torn(AllAtOnce):
    exponential = None

@option(MetricConfig)
class Curt(AllAtOnce):
    def score_all(self, answers):
        return Scores([1.0])

@option(MetricConfig)
class Lopsided(AllAtOnce):
    def score_all(self, answers):
        return Scores([1.0 for one in answers], [1.0])

@option(MetricConfig)
class Speechless(AllAtOnce):
    def score_all(self, answers):
        return Scores([None for one in answers])

@option(MetricConfig)
class Fickle(Metric):
    needs_reference = True
    started = 0

    def __init__(self, config):
        Fickle.started += 1
        self.higher_is_better = Fickle.started == 2


class Format:
    def __init__(self, config):
        self.seen = 0

    def matches(self, fields):
        return "ask" in fields

    def example(self, fields):
        for name in ("ask", "say"):
            if not isinstance(fields.get(name), str):
                raise FrameworkError(f"needs text in '{name}'")
        return self.turns(fields)

    def turns(self, fields):
        turns = Message("user", fields["ask"]), Message("assistant", fields["say"])
        return Example(turns, type(self).__name__.lower())


@option(FormatConfig)
class Strict(Format):
    def matches(self, fields):
        return bool(fields or fields["ask"])

@option(FormatConfig)
class Vague(Format):
    def matches(self, fields):
        return "ask" in fields and fields["ask"]

@option(FormatConfig)
class Trusting(Format):
    def example(self, fields):
        return self.turns({**fields, "ask": fields["ask"].strip()})

@option(FormatConfig)
class Poet(Format):
    def turns(self, fields):
        return Example((Message("poet", fields["ask"]), Message("assistant", fields["say"])), "poet")

@option(FormatConfig)
class Numbers(Format):
    def turns(self, fields):
        return Example((Message("user", fields["ask"]), Message("assistant", b"3")), "numbers")

@option(FormatConfig)
class Unknown(Format):
    def turns(self, fields):
        return dataclasses.replace(super().turns(fields), format="nobody")

@option(FormatConfig)
class Asks(Format):
    def turns(self, fields):
        return Example((Message("user", fields["ask"]),), "asks")

@option(FormatConfig)
class Wordy(Format):
    def turns(self, fields):
        return dataclasses.replace(super().turns(fields), text=fields["say"])

@option(FormatConfig)
class Rejects(Format):
    def turns(self, fields):
        return dataclasses.replace(super().turns(fields), rejected=(Message("user", fields["ask"]),))

@option(FormatConfig)
class Nameless(Format):
    def turns(self, fields):
        return dataclasses.replace(super().turns(fields), tools=({"name": "add"},))

@option(FormatConfig)
class Greedy(Format):
    def turns(self, fields):
        fields.pop("more", None)
        return super().turns(fields)

@option(FormatConfig)
class Moody(Format):
    def turns(self, fields):
        self.seen += 1
        return Example((Message("user", f"{self.seen}"), Message("assistant", fields["say"])), "moody")

@option(FormatConfig)
class Mute(Format):
    def example(self, fields):
        if not isinstance(fields.get("say"), str):
            raise FrameworkError("this row is wrong")
        return self.turns(fields)

@option(FormatConfig)
class Lenient(Format):
    def example(self, fields):
        return self.turns({"ask": "?", **fields, "say": str(fields.get("say"))})

@option(FormatConfig)
class Alpaquita(Format):
    def matches(self, fields):
        return "instruction" in fields

    def example(self, fields):
        return self.turns({"ask": str(fields["instruction"]), "say": str(fields["output"])})

@option(FormatConfig)
class Shy(Format):
    def matches(self, fields):
        return False


class Export:
    def __init__(self, config):
        pass

    def export(self, model, context):
        self.file = context.run_dir / "made.txt"
        return self.make(context)

    def make(self, context):
        self.file.write_text("made")
        return [Artifact("text", "made.txt", 4)]


@option(ExporterConfig)
class Nothing(Export):
    def make(self, context):
        return []

@option(ExporterConfig)
class Kindless(Export):
    def make(self, context):
        return [dataclasses.replace(super().make(context)[0], kind=" ")]

@option(ExporterConfig)
class Away(Export):
    def make(self, context):
        (context.run_dir.parent / "made.txt").write_text("made")
        return [Artifact("text", "../made.txt", 4)]

@option(ExporterConfig)
class Missing(Export):
    def make(self, context):
        return [Artifact("text", "made.txt", 4)]

@option(ExporterConfig)
class Wrong(Export):
    def make(self, context):
        return [dataclasses.replace(super().make(context)[0], bytes=5)]

@option(ExporterConfig)
class Half(Export):
    def make(self, context):
        (context.run_dir / "made.txt.part").write_text("ma")
        return super().make(context)

@option(ExporterConfig)
class Writes(Export):
    def make(self, context):
        (context.checkpoint / "more.txt").write_text("more")
        return super().make(context)

@option(ExporterConfig)
class Once(Export):
    def make(self, context):
        made = [Artifact("text", f"made{number}.txt", 4) for number in range(9)]
        first = next(one for one in made if not (context.run_dir / one.path).exists())
        (context.run_dir / first.path).write_text("made")
        return [first]

@option(ExporterConfig)
class Talks(Export):
    def make(self, context):
        text = os.environ.get("FRAMEWORK_SUITE_TOKEN", "none")
        self.file.write_text(text)
        return [Artifact("text", "made.txt", len(text))]


class Rows:
    fields = {"instruction": "Say 1", "output": "it is 1"}
    where = "rows:1"

    def __init__(self, config):
        pass

    def load(self):
        return RawData([Row(self.fields, self.where)])


@option(DataConfig)
class Placeless(Rows):
    where = ""

@option(DataConfig)
class Readonce(Rows):
    def load(self):
        return RawData(Row(self.fields, f"rows:{number}") for number in range(3))

@option(DataConfig)
class Distrusts(Rows):
    def check(self):
        raise FrameworkError("no row is there")

@option(DataConfig)
class Strange(Rows):
    fields = {"strange": "1"}


class Log(Logger):
    def __init__(self, config):
        self.config = config
        self.file = None

    def log(self, event):
        if isinstance(event, RunStarted):
            self.file = (event.plan.run_dir / "log.txt").open("a")

    def close(self):
        if self.file:
            self.file.close()


@option(LoggerConfig)
class StepError(Log):
    def log(self, event):
        super().log(event)
        if isinstance(event, TrainingStep):
            raise ValueError("no step")

@option(LoggerConfig)
class Finite(Log):
    def log(self, event):
        super().log(event)
        if isinstance(event, TrainingStep) and event.step.loss != event.step.loss:
            raise ValueError("not finite")

@option(LoggerConfig)
class Unplanned(Log):
    plan = None

    def log(self, event):
        match event:
            case RunPlanned(plan):
                self.plan = plan
            case RunFailed():
                self.plan.name
            case _:
                super().log(event)

@option(LoggerConfig)
class Opens(Log):
    def log(self, event):
        if isinstance(event, RunStarted):
            self.file = (event.plan.run_dir / "log.txt").open("x")

@option(LoggerConfig)
class Retold(Log):
    last = 0

    def log(self, event):
        super().log(event)
        if isinstance(event, TrainingStep):
            if event.step.step <= self.last:
                raise ValueError("again")
            self.last = event.step.step

@option(LoggerConfig)
class Carefree(Log):
    def log(self, event):
        super().log(event)
        if isinstance(event, IssueFound):
            self.file.write(event.issue.name)

@option(LoggerConfig)
class Picky(Log):
    def log(self, event):
        super().log(event)
        if type(event).__module__ != "framework.api.events":
            raise TypeError(type(event).__name__)

@option(LoggerConfig)
class Unready(Log):
    def log(self, event):
        super().log(event)
        if isinstance(event, RunFailed):
            self.file.write(str(event.error))

@option(LoggerConfig)
class Unfinished(Log):
    report = None

    def log(self, event):
        super().log(event)
        if isinstance(event, RunFinished):
            self.report = event.report

    def close(self):
        super().close()
        self.report.name

@option(LoggerConfig)
class Open(Log):
    def close(self):
        KEPT.append(self.file)

@option(LoggerConfig)
class Early(Log):
    def log(self, event):
        super().log(event)
        if isinstance(event, RunPlanned):
            event.plan.run_dir.mkdir(parents=True, exist_ok=True)
            (event.plan.run_dir / "early.txt").touch()

@option(LoggerConfig)
class Around(Log):
    def log(self, event):
        super().log(event)
        if isinstance(event, RunPlanned):
            Path("around.txt").touch()

@option(LoggerConfig)
class Leaks(Log):
    def log(self, event):
        super().log(event)
        if isinstance(event, RunStarted):
            self.file.write(str(event.plan.data.config))

@dataclass
class TellsConfig(LoggerConfig):
    """Doc."""
    api_key: str | None = None
    """Doc."""

class Tells(Log):
    def log(self, event):
        super().log(event)
        if isinstance(event, RunStarted):
            self.file.write(str(self.config.api_key))

OPTIONS.append(Component("tells", TellsConfig, "broken_options:Tells"))

@option(LoggerConfig)
class First(Log):
    started_runs = 0

    def log(self, event):
        if isinstance(event, RunStarted):
            First.started_runs += 1
            if First.started_runs == 1:
                super().log(event)


MODELS = {}


def backend(name):
    """Register a backend whose model overrides what the decorated class does."""
    def register(kind):
        class Backend(EchoBackend):
            def open(self, plan):
                from contextlib import contextmanager

                @contextmanager
                def opened():
                    yield kind(plan)
                return opened()
        Backend.__name__ = Backend.__qualname__ = f"{name}Backend"
        globals()[Backend.__name__] = Backend
        option(TrainerConfig)(Backend)
        return kind
    return register


@backend("factless")
class Factless(EchoModel):
    def __init__(self, plan):
        super().__init__(plan)
        self.facts = {}

@backend("otherway")
class OtherWay(EchoModel):
    def loss(self, data):
        return super().loss(data)

@backend("cuts")
class Cuts(EchoModel):
    def stream(self, *args, **more):
        yield from list(super().stream(*args, **more))[:-1]

@backend("dices")
class Dices(EchoModel):
    def stream(self, prompt, *, max_new_tokens, temperature=0.0, top_p=1.0, seed):
        import random

        if temperature:
            yield str(random.random())
        else:
            yield from super().stream(prompt, max_new_tokens=max_new_tokens, seed=seed)

@backend("unscaled")
class Unscaled(EchoModel):
    def loss(self, rows):
        return super().loss(rows) + 0.1 * self.plan.training.gradient_accumulation_steps

@backend("overlong")
class Overlong(EchoModel):
    def train(self, rows, validation, run):
        passes = self.plan.training.gradient_accumulation_steps
        told = lambda step: run.on_step(dataclasses.replace(step, grad_norm=step.grad_norm * passes))
        return super().train(rows, validation, dataclasses.replace(run, on_step=told))

@backend("astray")
class Astray(EchoModel):
    def score(self, rows):
        other = 0.1 * (self.plan.training.gradient_accumulation_steps - 1)
        move = lambda scores: [score + (other if at else -other) for at, score in enumerate(scores)]
        return [dataclasses.replace(each, log_probs=move(each.log_probs)) for each in super().score(rows)]

@backend("shifted")
class Shifted(EchoModel):
    def encode(self, examples):
        return [dataclasses.replace(row, labels=row.labels[1:]) for row in super().encode(examples)]

@backend("mislabelled")
class Mislabelled(EchoModel):
    def encode(self, examples):
        add = lambda labels: [label if label < 0 else label + 1 for label in labels]
        return [dataclasses.replace(row, labels=add(row.labels)) for row in super().encode(examples)]

@backend("unlearned")
class Unlearned(EchoModel):
    def encode(self, examples):
        return [dataclasses.replace(row, labels=[-100] * len(row.labels)) for row in super().encode(examples)]

@backend("wholerows")
class WholeRows(EchoModel):
    def encode(self, examples):
        return [dataclasses.replace(row, labels=row.input_ids) for row in super().encode(examples)]

class Looks:
    """Finds the answer 'wrong'."""
    found = dict(name="wrong", severity=Severity.warning, text="Wrong.", advice="Fix it.")

    def __init__(self, config):
        pass

    def numbers(self, data):
        return [
            number for batch in data.batches() for number, answer in enumerate(batch.answer, start=batch.start)
            if answer == "wrong"
        ]

    def audit(self, data):
        if found := self.numbers(data):
            yield Finding(**self.found, rows=len(found), examples=data.examples(found))

@option(AuditConfig)
class Overlooks(Looks):
    def numbers(self, data):
        return []

@option(AuditConfig)
class Alarms(Looks):
    def numbers(self, data):
        return list(range(len(data)))

@option(AuditConfig)
class Nowhere(Looks):
    def audit(self, data):
        yield Finding(**self.found, rows=1, examples=["somewhere"])

@option(AuditConfig)
class Sulky(Looks):
    count = 0

    def audit(self, data):
        Sulky.count += 1
        yield Finding(**{**self.found, "text": f"Time {self.count}."}, rows=1, examples=data.examples([0]))

@option(AuditConfig)
class Stumbles(Looks):
    def numbers(self, data):
        return [number for batch in data.batches() for number, text in enumerate(batch.answer) if text[0] == "w"]

@backend("renamed")
class Renamed(EchoModel):
    count = 0

    @property
    def encoding(self):
        type(self).count += 1
        return str(self.count)

@backend("samename")
class SameName(EchoModel):
    encoding = "always the same"

@backend("unproven")
class Unproven(EchoModel):
    def encode(self, examples):
        return [dataclasses.replace(row, problem="no stop token") for row in super().encode(examples)]

@backend("wordblind")
class WordBlind(EchoModel):
    def decode(self, ids):
        return ""

@backend("sorted")
class Sorted(EchoModel):
    def encode(self, examples):
        return sorted(super().encode(examples), key=lambda row: row.where, reverse=True)

@backend("drifts")
class Drifts(EchoModel):
    drift = 0

    def encode(self, examples):
        self.drift += 1
        add = lambda ids: [number + self.drift if number >= 0 else number for number in ids]
        rows = super().encode(examples)
        return [dataclasses.replace(row, input_ids=add(row.input_ids), labels=add(row.labels)) for row in rows]

@backend("mixed")
class Mixed(EchoModel):
    def generate(self, prompts, *, max_new_tokens, batch_size):
        answers = super().generate(prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
        return sorted(answers, key=lambda answer: answer.text)

@backend("chatty")
class Chatty(EchoModel):
    def generate(self, prompts, *, max_new_tokens, batch_size):
        return super().generate(prompts, max_new_tokens=99, batch_size=batch_size)

@backend("fewer")
class Fewer(EchoModel):
    def generate(self, prompts, *, max_new_tokens, batch_size):
        return super().generate(prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)[1:]

@backend("no_number")
class NaN(EchoModel):
    def loss(self, rows):
        return math.nan

@backend("lazy")
class Lazy(EchoModel):
    def loss(self, rows):
        return 1.0

@backend("backwards")
class Backwards(EchoModel):
    def train(self, rows, validation, run):
        steps = []
        result = super().train(rows, validation, dataclasses.replace(run, on_step=steps.append))
        for step in reversed(steps):
            run.on_step(step)
        return result

@backend("untold")
class Untold(EchoModel):
    def train(self, rows, validation, run):
        return super().train(rows, validation, dataclasses.replace(run, on_step=lambda step: None))

@backend("miscounts")
class Miscounts(EchoModel):
    def train(self, rows, validation, run):
        return dataclasses.replace(super().train(rows, validation, run), steps=999)

@backend("unsaved")
class Unsaved(EchoModel):
    def train(self, rows, validation, run):
        result = super().train(rows, validation, run)
        for file in run.checkpoint.iterdir():
            file.unlink()
        return result

@backend("leftover")
class LeftOver(EchoModel):
    def train(self, rows, validation, run):
        run.scratch.with_name("checkpoint.part").mkdir()
        return super().train(rows, validation, run)

@backend("wordless")
class Wordless(EchoModel):
    def save_tokenizer(self, folder):
        pass

@backend("baseless")
class Baseless(EchoModel):
    def as_base(self):
        from contextlib import nullcontext
        return nullcontext()

@backend("forgetful")
class Forgetful(EchoModel):
    def restore(self, checkpoint):
        pass

@backend("random")
class Random(EchoModel):
    def loss(self, rows):
        return super().loss(rows) + int.from_bytes(os.urandom(2))

@backend("endlessly")
class Endlessly(EchoModel):
    def train(self, rows, validation, run):
        self.plan = dataclasses.replace(self.plan, trainer=dataclasses.replace(
            self.plan.trainer, config=dataclasses.replace(self.plan.trainer.config, max_steps=5)))
        return super().train(rows, validation, run)

@backend("deaf")
class Deaf(EchoModel):
    def train(self, rows, validation, run):
        def told(step):
            order = run.on_step(step)
            return order and dataclasses.replace(order, stop="")
        return super().train(rows, validation, dataclasses.replace(run, on_step=told))

@backend("late")
class Late(EchoModel):
    def train(self, rows, validation, run):
        last = [StepControl()]
        def told(step):
            last.append(run.on_step(step) or StepControl())
            return last[-2]
        return super().train(rows, validation, dataclasses.replace(run, on_step=told))

@backend("keepsnone")
class KeepsNone(EchoModel):
    def train(self, rows, validation, run):
        def told(step):
            order = run.on_step(step)
            return order and dataclasses.replace(order, keep=False)
        return super().train(rows, validation, dataclasses.replace(run, on_step=told))

@backend("swallows")
class Swallows(EchoModel):
    def train(self, rows, validation, run):
        def told(step):
            try:
                return run.on_step(step)
            except Exception:
                return None
        return super().train(rows, validation, dataclasses.replace(run, on_step=told))

@backend("held")
class Held(EchoModel):
    def __init__(self, plan):
        super().__init__(plan)
        KEPT.append(self)


class Optimizer:
    known = None

    def __init__(self, config):
        pass

    def state_bytes(self, weights, *, on_gpu):
        return self.known

    def create(self, groups, rate, warmup):
        return self.kind([group.for_torch() for group in groups], lr=rate)

    kind = torch.optim.SGD

@option(OptimizerConfig)
class Forgets(Optimizer):
    def create(self, groups, rate, warmup):
        return torch.optim.SGD([groups[0].for_torch()], lr=rate)

@option(OptimizerConfig)
class Still(Optimizer):
    class kind(torch.optim.SGD):
        def step(self, closure=None):
            pass

@option(OptimizerConfig)
class Stubborn(Optimizer):
    class kind(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["lr"] = 0.1
            super().step()

@option(OptimizerConfig)
class Oblivious(Optimizer):
    class kind(torch.optim.SGD):
        made = 0
        def step(self, closure=None):
            self.made += 1
            for group in self.param_groups:
                group["lr"] = 0.1 / self.made
            super().step()

@option(OptimizerConfig)
class Boasts(Optimizer):
    known = 1e9


class Schedule:
    def __init__(self, config):
        self.asked = 0

@option(ScheduleConfig)
class Wild(Schedule):
    def factor(self, step, steps, warmup, rate):
        return 2.0

@option(ScheduleConfig)
class Whimsical(Schedule):
    def factor(self, step, steps, warmup, rate):
        self.asked += 1
        return 1 / self.asked


class Sampler:
    def __init__(self, config):
        pass

@option(SamplerConfig)
class Scant(Sampler):
    def order(self, lengths, batch, steps, seed):
        return [[0]] * steps

@option(SamplerConfig)
class Dice(Sampler):
    def order(self, lengths, batch, steps, seed):
        for step in range(steps):
            yield [random.randrange(1000) for _ in range(batch)]

@option(SamplerConfig)
class Again(Sampler):
    def order(self, lengths, batch, steps, seed):
        epoch = -(-len(lengths) // batch)
        for step in range(steps):
            yield [0] * (len(lengths) - batch * (epoch - 1) if step % epoch == epoch - 1 else batch)


class Callback:
    seen = 0

    def __init__(self, config):
        pass

    def on_step(self, step):
        self.seen += 1
        return StepControl(rate=0.5) if self.seen == 3 else None

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]

@option(CallbackConfig)
class Idle(Callback):
    def on_step(self, step):
        return None

@option(CallbackConfig)
class Lost(Callback):
    def restore(self, state):
        pass

@option(CallbackConfig)
class Bomb(Callback):
    def on_step(self, step):
        raise LookupError("bang")


@hookimpl
def framework_components():
    return OPTIONS
'''
