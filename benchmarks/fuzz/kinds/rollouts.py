"""GRPO with environments, rewards and generators that are written well, or not."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import GOOD, Case, Expect, words
from benchmarks.fuzz.edits import Edit

A = Expect.ANY
WHY = "environments, rewards and settings are drawn, and some are right"
RESETS = (
    "def reset(self, **row): pass", "def reset(self, **row): return 'Begin.'", "def reset(self): pass",
    "def reset(self, **row): return 5", "def reset(self, **row): return ''", "def reset(self, **row): return [{}]",
    "def reset(self, **row): raise ValueError('no')", "def reset(self, **row): raise SystemExit(3)", "reset = 5",
    "def reset(self, prompt, **row): return prompt", "def reset(self, no_such): pass", "pass",
    "async def reset(self, **row): pass", "def reset(self, **row): return 'word ' * 5000",
    "def reset(self, **row): return '\\ud800'", "def reset(self, **row): import os; os.chdir('/')",
)  # fmt: skip
TOOLS = (
    "def add(self, a: int, b: int) -> int:\n        'Add.\\n\\n        Args:\\n            a: one.\\n            "
    "b: two.'\n        return a + b",
    "def bare(self): return 1", "def text(self, a):\n        'Say.'\n        return a",
    "def fails(self, a: int) -> str:\n        'Fail.\\n\\n        Args:\\n            a: one.'\n"
    "        raise ValueError(a)",
    "def many(self, *all, **named):\n        'Take.'\n        return None", "tool = 5", "def _hidden(self): pass",
    "async def later(self, a: int) -> int:\n        'Wait.\\n\\n        Args:\\n            a: one.'\n        return a",
    "def odd(self, a: 'No such') -> object:\n        'Odd.\\n\\n        Args:\\n            a: one.'\n"
    "        return object()",
)  # fmt: skip
OWN = (
    "def get_reward(self): return 1.0", "pass", "def get_reward(self): return float('nan')",
    "def get_reward(self): return 'much'", "def get_reward(self): return None",
    "def get_reward(self): raise KeyError('x')", "def get_reward(self, more): return 1", "get_reward = 1.0",
    "def get_reward(self): return [1]", "def get_reward(self): return True", "async def get_reward(self): return 1.0",
)  # fmt: skip
INITS = (
    "pass",
    "def __init__(self): raise OSError('no')",
    "def __init__(self, x): pass",
    "def __init__(self): self.n = 0",
)
PLACES = (
    "./env.py:Game", "env.py:Game", "./env.py:Nope", "./env.py", "env:Game", "./nope.py:Game", "json:JSONDecoder", ":",
    "./env.py:", ":Game", "./json.py:Game", "os:getcwd", "./env.py:Game.reset", "null", "''", "./broken.py:Game", "5",
)  # fmt: skip
REWARDS = (
    "return [float(n % 2) for n in range(len(completions))]",
    "return [1.0] * len(completions)", "return [float(len(c)) for c in completions]", "return 1.0", "return 'much'",
    "return [1.0]", "return []", "return None", "return [None] * len(completions)", "return ['1'] * len(completions)",
    "return [float('nan')] * len(completions)", "return [float('inf')] * len(completions)", "return {'a': 1}",
    "return [[1.0]] * len(completions)", "return (n / 2 for n in range(len(completions)))", "raise ValueError('no')",
    "import numpy; return numpy.arange(len(completions))", "import torch; return torch.rand(len(completions))",
    "return [completions]", "import time; time.sleep(3)", "return [True, None] * (len(completions) // 2)",
    "return [10.0 ** 308 * n for n in range(len(completions))]", "completions.clear(); return []",
    "raise SystemExit(3)", "return map(len, completions)",
    "return [n for n in range(len(completions))]", "return [-n for n, _ in enumerate(completions)]",
)  # fmt: skip
TAKES = (
    "completions, **more", "completions", "prompts, completions", "completions, no_such, **more", "", "**more",
    "completions: list[str], **more", "completions, environments, **more", "completions, answer, **more",
    "x, /, completions",
)  # fmt: skip
SETTINGS = {
    "method.num_generations": ("1", "0", "2", "3", "4", "-1", "1000", "x", "null"),
    "method.max_completion_length": ("0", "1", "3", "64", "63", "1000000", "null", "-1"),
    "method.max_tool_calling_iterations": ("0", "1", "5", "null"),
    "method.max_draw_seconds": ("0", "0.001", "5", "nan"),
    "method.temperature": ("0", "0.1", "1e9", "nan", "-1", "1e-9"),
    "method.top_p": ("0", "0.5", "1", "2"),
    "method.num_iterations": ("0", "1", "2"),
    "method.beta": ("0", "0.1", "-1", "1e9"),
    "method.mask_truncated_completions": ("true", "x"),
    "rollout.merge": ("true", "false", "auto", "x"),
    "rollout.max_logp_difference": ("0", "0.1", "-1", "nan", "null"),
    "rollout.importance_sampling_mode": ("sequence_mask", "token_truncate", "none", "x"),
    "rollout.dtype": ("fp16", "bf16", "fp32", "auto", "x"),
    "rollout.max_memory_percent": ("0.5", "0", "2"),
    "reward.mine.weight": ("0", "-1", "1e9", "nan", "x"),
    "reward.mine.max_seconds": ("0.2", "0", "-1"),
    "trainer.dtype": ("bf16", "fp16", "fp32"),
    "trainer.max_seq_length": ("8", "20", "64", "100000"),
    "trainer.packing": ("tree", "pad", "none"),
    "launch": ("single", "ddp", "fsdp2"),
    "quantization": ("nf4", "int8", "none"),
    "adapter": ("lora", "none"),
}  # fmt: skip
CHOSEN = ("[mine]", "[]", "[mine,exact_match]", "[length]", "null")
MODELS = (f"{GOOD}/tools", f"{GOOD}/base")
"""The chat template of the first has tools."""
ROLLOUTS = ("model", "continuous", "vllm", "llamacpp", "null", "[model]")
PROMPTS = (
    '{"prompt": "Say A."}', '{"prompt": "Say A.", "answer": "A"}', '{"instruction": "Say A.", "output": "A"}',
    '{"prompt": [{"role": "user", "content": "Say A."}], "answer": 3}', '{"prompt": ""}',
    f'{{"prompt": "{"A " * 300}"}}',
    '{"prompt": [{"role": "user", "content": "Say A."}], "tools": []}', '{"prompt": "Say A.", "environments": 1}',
)  # fmt: skip


@st.composite
def _drawn(draw: DrawFn) -> Case:
    # Most of a case is right, so that it comes as far as what is not.
    parts = {"init": INITS, "reset": RESETS, "tool": TOOLS, "own": OWN, "takes": TAKES, "reward": REWARDS}
    parts |= {"place": PLACES, "rows": PROMPTS, "rewards": CHOSEN, "rollout": ROLLOUTS, "model": MODELS}
    odd = draw(st.lists(st.sampled_from([*parts, "settings"]), max_size=2, unique=True))
    one = {name: draw(st.sampled_from(choices)) if name in odd else choices[0] for name, choices in parts.items()}
    rows = [draw(st.sampled_from(PROMPTS)) if "rows" in odd else one["rows"] for _ in range(6)]
    has_tools = draw(st.booleans())
    body = "\n    ".join(one[name] for name in ("init", "reset", "tool", "own"))
    reward = f"from framework import reward\n\n@reward\ndef mine({one['takes']}):\n    {one['reward']}\n"
    edits = [
        Edit("put", "env.py", (f"class Game:\n    {body}\n".encode(),)),
        Edit("put", "rew.py", (reward.encode(),)),
        Edit("put", "broken.py", (b"class Game(:\n",)),
        Edit("put", "r.jsonl", ("".join(f"{row}\n" for row in rows).encode(),)),
    ]
    line = ["method=grpo", "method.num_generations=2", "method.max_completion_length=3", "plugins=[rew.py]"]
    line += ["trainer.max_steps=1", "trainer.per_device_train_batch_size=4", f"reward={one['rewards']}"]
    line += [f"method.environment={one['place']}", "trainer.max_seq_length=1024"] if has_tools else []
    line += [f"rollout={one['rollout']}"]
    chosen = draw(st.lists(st.sampled_from(sorted(SETTINGS)), max_size=2, unique=True)) if "settings" in odd else []
    line += [f"{name}={draw(st.sampled_from(SETTINGS[name]))}" for name in chosen]
    line += [f"stages={draw(st.sampled_from(['[data,train]', '[data,train]', '[data,train]', '[data]', '[plan]']))}"]
    names = ("method", "reward", "rollout", "r.jsonl", "rew.py", "env.py", *(name.partition(".")[0] for name in chosen))
    what = "an environment" if has_tools else "a reward"
    return Case(
        "rollouts",
        what,
        words(*line, model=one["model"], data="r.jsonl"),
        A,
        "run",
        names,
        WHY,
        edits=tuple(edits),
        trains=True,
    )


CASES: SearchStrategy[Case] = _drawn()
