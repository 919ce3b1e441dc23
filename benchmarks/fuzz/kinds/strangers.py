"""What third-party code may do: each part of a run in a file, with a body that is right or is not.

A part returns, yields, raises, waits, exits, or changes what it is given. It must not end the run without a word, with
a traceback or with a secret on the screen, and a refusal names the part.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import Case, Expect, words
from benchmarks.fuzz.edits import Edit

A = Expect.ANY
WHY = "bodies are drawn, and some are right"
PLANTED = "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"
RAISES = (
    f"raise ValueError('token={PLANTED}')", "raise SystemExit", "raise SystemExit(0)", f"raise SystemExit('{PLANTED}')",
    "sys.exit()", "sys.exit(3)", "exit()", f"raise asyncio.CancelledError('{PLANTED}')", "raise GeneratorExit",
    f"raise Base('{PLANTED}')", "raise Silent", "raise StopIteration", "raise StopAsyncIteration", "raise MemoryError",
    "raise RecursionError", "raise ExceptionGroup('x', [ValueError('y')])", "raise BaseExceptionGroup('x', [Base()])",
    "raise KeyError", "raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'no')", "raise OSError(28, 'No space left')",
    "raise NotImplementedError", "raise BrokenPipeError", "raise TimeoutError", "assert False", "1 / 0", "none.x",
    "raise Warning('w')", "warnings.warn('w')", "raise ConnectionError", "raise ImportError('x', name='nope')",
    "raise torch.OutOfMemoryError('no')", "raise RuntimeError('\\x1b[31mred')", "raise ValueError('a\\nb' * 500)",
    "raise FrameworkError('a sentence')", "raise StopIteration(5)", "raise EOFError",
    "raise OSError(36, 'x', 'y' * 300)",
)  # fmt: skip
NO_ALARM = "signal.signal(signal.SIGALRM, signal.SIG_IGN)"
CHANGES = (
    "torch.set_grad_enabled(False)", "torch.manual_seed(0)", "random.seed(0)", "numpy.random.seed(0)",
    "os.chdir('/')", "os.environ.clear()", "gc.disable()",
    NO_ALARM, "signal.alarm(1); signal.alarm(0)",
    "warnings.simplefilter('error')",
    "torch.set_default_dtype(torch.float64)", "sys.setrecursionlimit(120)", "threading.Thread(target=time.sleep, "
    "args=(60,), daemon=True).start()", "asyncio.run(asyncio.sleep(0))", "logging.disable()",
    "logging.getLogger().handlers.clear()", "sys.modules.pop('torch.optim', None)", "numpy.seterr(all='raise')",
    "torch.inference_mode(True).__enter__()", "locale.setlocale(locale.LC_ALL, 'C')", "pass",
)  # fmt: skip
VALUES = (
    "None", "True", "1", "0", "-1", "0.5", "float('nan')", "float('inf')", "10 ** 400", "10 ** 5000", "1e308", "'1'",
    "b'1'", "''", "[]", "()", "{}", "set()", "object()", "Odd()", "1j", "torch.tensor(1.0)", "torch.zeros(3)",
    "torch.tensor(1.0, requires_grad=True)", "torch.zeros((), device='meta')", "torch.tensor(1j)", "numpy.float64(1)",
    "numpy.zeros(3)", "numpy.array(None)", "fractions.Fraction(1, 2)", "decimal.Decimal(1)", "lambda: 1", "type",
    "iter([])", "itertools.count()", "(1 / 0 for _ in 'a')", "datetime.date.today()", "'\\ud800'", "NotImplemented",
    "...",
)  # fmt: skip
HEAD = """
import asyncio, collections, datetime, decimal, fractions, gc, itertools, locale, logging, os, random, signal, sys
import threading, time, warnings
import numpy, torch
from framework import *
from framework import FrameworkError
from framework.api.training import LossValue, StepControl
from framework.api import Example, Message, Artifact

class Base(BaseException):
    pass

class Silent(Exception):
    def __str__(self):
        raise ValueError("no words")

class Odd:
    def __repr__(self):
        raise ValueError("no repr")
    def __float__(self):
        raise Base("no number")
    def __iter__(self):
        raise Base("no items")

def later(call):
    yield call()

class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))
        self.m, self.calls = 1.0, 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                self.own(g, p, s)

    def own(self, g, p, s):
        p.add_(p.grad, alpha=-g["lr"])
"""
CE = "sum(row.sum() for rows in scores.policy for row in rows)"
LOSSES = (
    f"return -{CE} / scores.tokens", f"return LossValue(-{CE} / scores.tokens, {{'a': torch.tensor(1.0)}})",
    f"return {CE}.square()", f"return {CE}.detach()", f"return {CE} * 0", f"({CE}).backward(); return {CE}",
    f"return {CE} * 1j", f"return ({CE}).to('meta')", f"return float({CE})", f"return [{CE}]",
    f"return LossValue({CE}, [1])", f"return LossValue({CE}, {{1: 2.0}})", f"return LossValue({CE}, {{'a': 'b'}})",
    f"return LossValue({CE}, {{'a': [1, 2]}})", f"return LossValue({CE}, {{'a': 10 ** 400}})",
    f"return LossValue({CE}, {{'a': Odd()}})", f"return LossValue({CE}, None)", "return scores.policy[0][0]",
    "return scores.reference[0][0].sum()", f"return ({CE}) / 0", f"return ({CE}).log()", "scores.policy.clear()",
    f"return torch.stack([{CE}, {CE}])", f"return ({CE}).abs()", "del scores.groups; return 1",
    f"mine.n = getattr(mine, 'n', 0) + 1; return {CE} * mine.n", f"return {CE} * random.random()",
    f"return {CE} * float(numpy.random.rand())", f"return {CE} * torch.rand(())",
    "return scores.policy[0][0].sum().int()",
)  # fmt: skip
OPTIMIZERS = (
    "p.add_(p.grad, alpha=-g['lr'])", "s['m'] = numpy.float64(1); p.sub_(p.grad * g['lr'])",
    "s['m'] = fractions.Fraction(1, 3); p.sub_(p.grad * g['lr'])", "s['f'] = lambda: 1; p.sub_(p.grad * g['lr'])",
    "b = s.setdefault('b', torch.zeros_like(p, dtype=torch.bfloat16)); b.mul_(0.9).add_(p.grad.bfloat16())\n"
    "        p.sub_(b.float() * g['lr'])", "self.m *= 0.9; p.sub_(p.grad * g['lr'] * self.m)",
    "s['f'] = open('/dev/null'); p.sub_(p.grad * g['lr'])", "self.state['all'] = {'x': 1}; p.sub_(p.grad * g['lr'])",
    "p.sub_(p.grad * g['lr'] * random.random())", "p.sub_(p.grad * g['lr'] * torch.rand(()))", "p.mul_(float('nan'))",
    "p.data = p.data.bfloat16()", "p.grad = None", "g['params'].clear()", "self.param_groups.clear()", "pass",
    "s['x'] = {1, 2}; p.sub_(p.grad * g['lr'])", "g['k'] = g.get('k', 1.0) * 0.9; p.sub_(p.grad * g['lr'] * g['k'])",
    "s['x'] = collections.Counter('ab'); p.sub_(p.grad * g['lr'])", "p.sub_(p.grad * g['lr'] * numpy.random.rand())",
    "p.sub_(p.grad * g['lr'] / self.calls)", "s['x'] = datetime.date.today(); p.sub_(p.grad * g['lr'])",
    "p.set_(p[:1])", "p.requires_grad_(False); p.sub_(p.grad * g['lr'])", "s['x'] = (1, torch.ones(2)); p.sub_(p.grad)",
)  # fmt: skip
MADE = (
    "Own([g.for_torch() for g in groups], rate)", "Own([w.value for g in groups for w in g.weights], rate)",
    "torch.optim.AdamW([g.for_torch() for g in groups], lr=torch.tensor(rate))", "Own([groups[0].for_torch()], rate)",
    "torch.optim.SGD([g.for_torch() for g in groups], lr=rate)", "torch.optim.LBFGS([w.value for g in groups for w in "
    "g.weights])", "Own([torch.nn.Parameter(torch.ones(1))], rate)", "Own([], rate)",
)  # fmt: skip
SCHEDULES = (
    "return 1.0", "return step / steps", "return time.time() % 1", "return random.random()", "return -1",
    "return 2 ** step",
    "mine.n = getattr(mine, 'n', 0) + 1; return 1 / mine.n", "return [1.0]", "return max(0, 1 - step / (steps - 1))",
    "return 1 / (steps - step)", "time.sleep(0.3); return 1.0",
)  # fmt: skip
SAMPLERS = (
    "for n in range(steps): yield [(n * batch + k) % len(lengths) for k in range(batch)]",
    "while True: yield numpy.random.default_rng(seed).permutation(len(lengths))[:batch]",
    "while True: yield random.sample(range(len(lengths)), batch)", "yield [0.5] * batch", "yield '0123'[:batch]",
    "while True: yield [True] * batch", "while True: yield ['0'] * batch", "while True: yield itertools.count()",
    "while True: yield range(batch)", "while True: yield torch.arange(batch)", "while True: yield [-1] * batch",
    "while True: yield []", "return iter([[0]])", "lengths[:] = 0; yield from ([0] * batch for _ in range(steps))",
    "while True: yield numpy.zeros(batch)", "while True: yield {0, 1, 2, 3}", "yield None", "return 5",
    "while True: yield [10 ** 400] * batch", "yield from itertools.repeat(b'abcd')",
)  # fmt: skip
CALLBACKS = (
    "return None", "return StepControl(rate=0.5)", "return StepControl(rate=-1)", "return StepControl(rate='1')",
    "return StepControl(keep='x')", "return StepControl(stop=5)", f"return StepControl(stop='{PLANTED}')",
    "state['n'] = 1", "state['n'] = object()", "state['n'] = float('nan')", "state[5] = 1", "state['n'] = (1, 2)",
    "state['n'] = state", "state['n'] = torch.ones(1)", "state.clear(); state['x'] = 10 ** 5000", "step.loss = 5",
    "return StepControl(rate=10 ** 400)", "return StepControl(rate=None)", "return StepControl(stop='\\x1b[31m')",
    "return StepControl(stop='a\\nb' * 100)",
)  # fmt: skip
METRICS = ("return 1.0", "return answer", "return len(answer)", "return {'a': 1}")
EXPORTS = (
    "return []", "return [Artifact('x', 'x', 1)]", "return Artifact('x', '../../x', 1)", "return [5]", "yield 5",
    "context.run_dir.joinpath('x').write_text('x'); return [Artifact('x', 'x', 1)]", "return 'x'", "model.close()",
)  # fmt: skip
FORMATS = (
    "return [('user', 'a'), ('assistant', 'b')]", "return []", "return [('user', 5)]", "return 'ab'", "return [('a',)]",
    "row.clear(); return [('user', 'a'), ('assistant', 'b')]", "return [Message('assistant', 'b')]", "return row",
    "return [('user', 'a'), ('assistant', '\\ud800')]", "yield from [('user', 'a'), ('assistant', 'b')]",
    "return Example((Message('user', 'a'), Message('assistant', 'b')), 'x', facts={'w': Odd()})",
    "return Example(None, None)", "return itertools.repeat(('user', 'a'))",
)  # fmt: skip
REWARDS = (
    "return [float(len(c)) for c in completions]", "return map(len, completions)", "return itertools.repeat(1.0)",
    "return (1 / 0 for c in completions)", "return (time.sleep(60) for c in completions)", "return b'ab'",
    "return {1, 2}",
    "return [10 ** 400] * len(completions)", "return [Odd()] * len(completions)", "return Odd()", "while True: pass",
    "yield from range(len(completions))", "signal.alarm(5); signal.alarm(0); time.sleep(60)",
    "import re; re.match(r'(a+)+$', 'a' * 40 + 'b')", "return [torch.zeros(2)] * len(completions)",
    "os.kill(os.getpid(), signal.SIGALRM); return [1.0, 0.0] * (len(completions) // 2)", "completions.clear()",
    "prompts.clear(); return [1.0, 0.0] * (len(completions) // 2)", "more['log_metric']('a', 'b')",
    "more['log_metric'](5, 1); return [1.0, 0.0] * (len(completions) // 2)",
    "more['log_extra']('a', itertools.count())",
    "return numpy.array([None] * len(completions))", "return torch.zeros(len(completions), device='meta')",
    "threading.Thread(target=sys.exit).start(); return [1.0, 0.0] * (len(completions) // 2)",
    "try:\n        time.sleep(60)\n    except BaseException:\n        return [1.0] * len(completions)",
)  # fmt: skip
WAITS = ("time.sleep(60)", "while True: pass", "threading.Event().wait()")
PARTS = {
    "loss": ("scores", LOSSES), "schedule": ("step, steps, warmup", SCHEDULES), "callback": ("step, state", CALLBACKS),
    "sampler": ("lengths, batch, steps, seed", SAMPLERS), "metric": ("answer", METRICS), "optimizer": ("", OPTIMIZERS),
    "exporter": ("model, context", EXPORTS), "formatter": ("row", FORMATS),
    "reward": ("prompts, completions, **more", REWARDS),
    "hook": ("plan", ("return None", "yield 'x'")), "import": ("", ("pass",)),
}  # fmt: skip
WAITING = {"schedule", "sampler", "optimizer", "reward"}
"""Parts that are tried, or that have a limit, so that they may wait."""
SEVERAL = {"callback", "metric", "exporter", "reward"}
HOOKS = (
    "framework_plan_problems(plan)", "framework_plan_advice(plan)", "framework_training_monitors(plan)",
    "framework_run_started(plan)", "framework_components()", "framework_config_paths()",
    "framework_stage_finished(plan, stage, result, seconds)", "framework_run_finished(plan, report)",
)  # fmt: skip


def _function(takes: str, body: str, deco: str) -> str:
    lines = "\n    ".join(body.split("\n"))
    return f"\n@{deco}\ndef mine({takes}):\n    'Mine.'\n    {lines}\n"


@st.composite
def _body(draw: DrawFn, part: str, own: tuple[str, ...]) -> str:
    """Draw what a part does: before what it is for, or instead of it."""
    raises, changes = st.sampled_from(RAISES), st.sampled_from(CHANGES)
    returns = st.sampled_from(VALUES).map(lambda value: f"return {value}")
    kinds = [st.sampled_from(own)] * 4 + [raises, returns]
    if part in WAITING:
        kinds.append(st.sampled_from(WAITS))
    body = draw(st.one_of(kinds))
    if draw(st.integers(0, 3)) == 0:
        change = draw(changes)
        if part not in WAITING or change != NO_ALARM:  # the limit of what may wait is an alarm
            body = f"{change}\n{body}"
    if part in {"loss", "callback", "optimizer", "schedule"} and draw(st.integers(0, 3)) == 0:
        late = draw(raises | returns) if part != "optimizer" else draw(raises)
        body = (
            f"mine.k = getattr(mine, 'k', 0) + 1\nif mine.k > {draw(st.sampled_from([1, 2, 12]))}:\n    {late}\n{body}"
        )
    return body


@st.composite
def _drawn(draw: DrawFn) -> Case:
    part = draw(st.sampled_from(sorted(PARTS)))
    takes, own = PARTS[part]
    body = draw(_body(part, own))
    name, line, head = part, ["metric=[]", "audit=[]"], HEAD
    if part == "optimizer":
        made = draw(st.sampled_from([MADE[0]] * 4 + [*MADE]))
        inner = "\n        ".join(body.split("\n"))
        early = draw(st.sampled_from(["", "", "", *RAISES[:8], *WAITS]))
        bytes_ = draw(st.sampled_from(["", "", "", "-1", "float('nan')", "'x'", "8", "10 ** 400", "None", "True"]))
        text = f"\nclass Own(Plain):\n    def own(self, g, p, s):\n        mine = Own\n        {inner}\n"
        deco = f"optimizer(state_bytes={bytes_})" if bytes_ else "optimizer"
        text += _function("groups, rate", f"{early or 'pass'}\nreturn {made}", deco)
    elif part == "hook":
        lines = "\n    ".join(body.split("\n"))
        text = f"\n@hookimpl\ndef {draw(st.sampled_from(HOOKS))}:\n    mine = os\n    {lines}\n"
    elif part == "import":
        text = "\n" + draw(st.sampled_from([*RAISES, *CHANGES])) + "\n" + _function("answer", "return 1.0", "metric")
    else:
        decorators = {
            "formatter": "formatter('instruction')",
            "loss": draw(st.sampled_from(["loss", "loss", "loss(linear=True)"])),
        }
        text = _function(takes, body, decorators.get(part, part))
    chosen = {"formatter": "format=mine", "hook": "", "import": ""}.get(
        part, f"{name}=[mine]" if part in SEVERAL else f"{name}=mine"
    )
    line += [chosen] if chosen else []
    edits = [Edit("put", "mine.py", ((head + text).encode("utf-8", "surrogatepass"),))]
    data = ""
    if part == "reward":
        line += [
            "method=grpo",
            "method.num_generations=2",
            "method.max_completion_length=3",
            "reward.mine.max_seconds=0.5",
        ]
        line += ["trainer.per_device_train_batch_size=4", f"audit={draw(st.sampled_from(['[]', '[standard]']))}"]
        edits.append(Edit("put", "r.jsonl", (b'{"prompt": "Say A.", "answer": "A"}\n' * 6,)))
        data = "r.jsonl"
    if part == "metric":
        line.append("evaluator=[prompts]")
    line += ["trainer.max_steps=3", "trainer.save_steps=1", "plugins=[mine.py]"]
    line.append(f"stages={draw(st.sampled_from(['[data,train]', '[data,train,evaluate,export,report]']))}")
    known = words(*line, **({"data": data} if data else {}))
    names = (
        "mine",
        "plugins",
        "memory",
        "No space left",
        "a sentence",
        "No such file",
        "255 bytes",
        "reward",
        "output",
        "rows.jsonl",
        "objective",
    )
    return Case("strangers", part, known, A, "run", names, WHY, edits=tuple(edits), trains=True)


CASES: SearchStrategy[Case] = _drawn()
