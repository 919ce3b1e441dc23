"""The surroundings of a process: variables, home, locale, limits, closed streams, signals that are ignored."""

from __future__ import annotations

import os
import resource
import signal

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.fuzz.case import PLACE, SOUND, Case, Expect, Process
from benchmarks.fuzz.edits import Edit

R, S, E = Expect.REFUSED, Expect.SAME, Expect.EITHER
LINE = SOUND["run"].words
SHELL = st.characters(codec="utf-8", exclude_characters="\0")
WORD = st.text(SHELL, max_size=12)


def _case(
    what: str, expect: Expect, env: tuple[tuple[str, str | None], ...] = (), *, process: Process | None = None,
    edits: tuple[Edit, ...] = (), names: tuple[str, ...] = (), why: str = "", codes: tuple[int, ...] = (),
) -> Case:  # fmt: skip
    own = process or Process()
    return Case(
        "environments", what, LINE, expect, names=names, why=why, edits=edits, env=env, process=own, codes=codes
    )


# ---- variables

HARMLESS: dict[str, tuple[str | None, ...]] = {
    "LANG": ("C", "POSIX", "xx_XX.UTF-8", "", "de_DE.ISO-8859-1", None),
    "LC_ALL": ("C", "tr_TR.UTF-8", "ja_JP.SJIS", "", "x" * 300), "LC_NUMERIC": ("de_DE.UTF-8",),
    "TZ": ("", "Nowhere/Land", ":/etc/passwd", "XXX-25", "UTC+99"),
    "TERM": ("", "dumb", "nope", None, "x" * 5000), "NO_COLOR": ("", "1"), "FORCE_COLOR": ("1", "0", "x"),
    "CLICOLOR": ("1",), "COLUMNS": ("1", "7", "40", "99999", "x", "-5", "", "1e9", "0", None), "LINES": ("0", "x"),
    "TTY_COMPATIBLE": ("1",), "TTY_INTERACTIVE": ("1",), "JUPYTER_COLUMNS": ("5",),
    "PATH": ("", None, "/nope", "/proc/self/mem", "/dev/null:/x"), "SHELL": ("", None, "/nope"),
    "USER": (None, "", "x\ny"), "LOGNAME": (None, ""), "PWD": ("/nope", "", None), "OLDPWD": ("/nope",),
    "EDITOR": ("/nope",), "PAGER": ("/nope",), "BROWSER": ("/nope",), "DISPLAY": (":99",),
    "TMPDIR": ("/nope", "", "/proc", "/dev/null", None), "XDG_CACHE_HOME": ("/nope", "", "relative"),
    "XDG_CONFIG_HOME": ("/nope",), "XDG_RUNTIME_DIR": ("/nope",),
    "CUDA_VISIBLE_DEVICES": ("", "-1", "0", "x", "9999", "GPU-x", "0,0", "MIG-x"),
    "NVIDIA_VISIBLE_DEVICES": ("none", "all"), "HIP_VISIBLE_DEVICES": ("0",),
    "OMP_NUM_THREADS": ("0", "-1", "x", "999999", "1.5", "", "2,3"), "MKL_NUM_THREADS": ("x",),
    "TOKENIZERS_PARALLELISM": ("x", "true"), "RAYON_NUM_THREADS": ("x", "0"),
    "HF_TOKEN": ("x", "", "hf_" + "x" * 5000, "é"), "HF_ENDPOINT": ("http://127.0.0.1:1", "nope", "", "file:///"),
    "HF_HOME": ("/nope", "", "/proc"),
    "HTTP_PROXY": ("http://127.0.0.1:1", "nope"), "https_proxy": ("socks5://x", "[", "http://["),
    "ALL_PROXY": ("x://y",), "NO_PROXY": ("*", "["), "SSL_CERT_FILE": ("/nope",), "REQUESTS_CA_BUNDLE": ("/nope",),
    "GIT_DIR": ("/nope", ""), "GIT_CONFIG_GLOBAL": ("/dev/zero",), "GIT_TRACE": ("1",),
    "SLURM_JOB_ID": ("1", "x", ""), "SLURM_PROCID": ("0", "3", "x"), "SLURM_NTASKS": ("4",),
    "SLURM_JOB_NUM_NODES": ("2",), "MASTER_PORT": ("x", "99999"), "PYTHONHASHSEED": ("x",),
    "PYTHONWARNINGS": ("error", "x"), "PYTHONUNBUFFERED": ("1",), "CI": ("1", "true"),
    "KUBERNETES_SERVICE_HOST": ("x",),
    "WANDB_MODE": ("x", "offline"), "WANDB_API_KEY": ("x",), "MLFLOW_TRACKING_URI": ("x",),
    "HYDRA_FULL_ERROR": ("0", "x", ""), "HYDRA_MAIN_MODULE": ("x",),
    "FRAMEWORK_DISABLE_PLUGINS": ("", ",", " , ", "wandb_nope", "trackers_nope,x"), "FRAMEWORK_UNKNOWN": ("x",),
    "FRAMEWORK_SWEEP_TRIAL": ("x",), "FRAMEWORK_SWEEP_STORAGE": ("x",),
    "OLLAMA_HOST": ("[",), "AWS_SECRET_ACCESS_KEY": ("x",), "SECRET_TOKEN": ("run", "loss", "a" * 9, "training"),
    "MY_PASSWORD": ("adapter_model", "report.json"), "ATEN_CPU_CAPABILITY": ("x",), "TQDM_DISABLE": ("1", "x"),
    "TQDM_MININTERVAL": ("0.1",), "TQDM_NCOLS": ("5",), "DEBUG": ("1",), "POSIXLY_CORRECT": ("1",),
    "BASH_ENV": ("/nope",),
}  # fmt: skip
WHY_LIBRARY = "a library reads the variable and may change the training: then it is refused, or has no effect"
LIBRARIES: dict[str, tuple[str, ...]] = {
    "ACCELERATE_MIXED_PRECISION": ("bf16", "fp16", "fp8", "nope", "no"), "ACCELERATE_USE_CPU": ("true", "x", "false"),
    "ACCELERATE_USE_DEEPSPEED": ("true", "x"), "ACCELERATE_USE_FSDP": ("true", "x"),
    "ACCELERATE_USE_MEGATRON_LM": ("true",), "ACCELERATE_DYNAMO_BACKEND": ("inductor", "nope"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("4", "x"),
    "ACCELERATE_DOWNCAST_BF16": ("true",), "ACCELERATE_TORCH_DEVICE": ("meta", "nope", "cpu"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("true",), "ACCELERATE_DISABLE_RICH": ("1",),
    "ACCELERATE_LOG_LEVEL": ("nope",), "ACCELERATE_ALLOW_CP_STANDALONE": ("x",), "FSDP_VERSION": ("2", "x"),
    "PARALLELISM_CONFIG_TP_SIZE": ("2",),
    "ACCELERATE_DEBUG_MODE": ("1", "x"), "ACCELERATE_CPU_AFFINITY": ("1", "x"),
    "ACCELERATE_BYPASS_DEVICE_MAP": ("true",), "ACCELERATE_INIT_INCLUDE_BUFFERS": ("x",),
    "SM_HP_MP_PARAMETERS": ("{", "{}"), "SM_FRAMEWORK_PARAMS": ("{",), "TRANSFORMERS_VERBOSITY": ("nope", "debug"),
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": ("x",),
    "PYTORCH_ENABLE_MPS_FALLBACK": ("1",), "PYTORCH_ALLOC_CONF": ("nope:1", "expandable_segments:True"),
    "PYTORCH_CUDA_ALLOC_CONF": ("nope",), "TORCH_LOGS": ("nope",), "TORCH_DISTRIBUTED_DEBUG": ("DETAIL", "x"),
    "NCCL_DEBUG": ("x",), "CCL_WORKER_COUNT": ("x",), "XLA_USE_BF16": ("1",), "PJRT_DEVICE": ("CPU",),
    "HF_DEACTIVATE_ASYNC_LOAD": ("1", "x"),
    "TRL_EXPERIMENTAL_SILENCE": ("1",), "PEFT_DEBUG_WITH_TORCH_COMPILE": ("1",), "BNB_CUDA_VERSION": ("x",),
    "USE_HUB_KERNELS": ("1", "x"), "DISABLE_KERNEL_MAPPING": ("1", "x"), "HF_XET_HIGH_PERFORMANCE": ("x",),
    "TORCHELASTIC_RUN_ID": ("x",), "TORCHELASTIC_RESTART_COUNT": ("3", "x"), "GROUP_RANK": ("3",),
    "FORK_LAUNCHED": ("1", "x"),
    "LOCAL_RANK": ("0", "1", "x", "-1"), "RANK": ("0", "1", "x"), "WORLD_SIZE": ("1", "2", "x", ""),
    "LOCAL_WORLD_SIZE": ("2",), "PMI_SIZE": ("2",), "OMPI_COMM_WORLD_SIZE": ("2", "x"), "MV2_COMM_WORLD_SIZE": ("2",),
    "MASTER_ADDR": ("127.0.0.1", "x"), "OMPI_COMM_WORLD_RANK": ("1",), "PMI_RANK": ("1",),
}  # fmt: skip


@st.composite
def _variables(draw: DrawFn) -> Case:
    """Draw variables that change nothing."""
    chosen = draw(st.lists(st.sampled_from(sorted(HARMLESS)), min_size=1, max_size=3, unique=True))
    env = tuple((name, draw(st.sampled_from(HARMLESS[name]))) for name in chosen)
    return _case(f"{chosen[0]}" if len(chosen) == 1 else "several variables", S, env)


@st.composite
def _libraries(draw: DrawFn) -> Case:
    """Draw a variable that a library reads."""
    name = draw(st.sampled_from(sorted(LIBRARIES)))
    return _case(name, E, ((name, draw(st.sampled_from(LIBRARIES[name]))),), names=(name,), why=WHY_LIBRARY)


@st.composite
def _group(draw: DrawFn) -> Case:
    """Draw the variables of a process group with more than one process."""
    size = draw(st.sampled_from([2, 8]))
    rank = draw(st.sampled_from([0, 1]))
    env: dict[str, str] = {"RANK": f"{rank}", "WORLD_SIZE": f"{size}"}
    env |= {"LOCAL_RANK": f"{rank % 8}"} if draw(st.booleans()) else {}
    env |= (
        {
            "MASTER_ADDR": draw(st.sampled_from(["127.0.0.1", "localhost", "node-1", "::1"])),
            "MASTER_PORT": f"{draw(st.integers(1, 65535))}",
        }
        if draw(st.booleans())
        else {}
    )
    env |= {"LOCAL_WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": "x"} if draw(st.booleans()) else {}
    return _case("the variables of a process group", R, (*env.items(),), names=("RANK", "WORLD_SIZE", "launch"))


@st.composite
def _anything(draw: DrawFn) -> Case:
    """Draw variables that nobody knows, with any name and value."""
    names = draw(
        st.lists(
            st.text(SHELL.filter(lambda each: each != "="), min_size=1, max_size=9), min_size=1, max_size=3, unique=True
        )
    )
    env = tuple(
        (f"X_{name}", draw(WORD | st.sampled_from(["\udcff", "x" * 100_000, "\n", "\x1b[31m", "${HOME}"])))
        for name in names
    )
    return _case("unknown variables", S, env)


# ---- the cache and the home

CACHES: tuple[tuple[str, Expect, str, tuple[Edit, ...]], ...] = (
    ("a new folder", S, f"{PLACE}/cache/new", ()), ("deep", S, f"{PLACE}/cache/" + "a/" * 60, ()),
    ("with a space", S, f"{PLACE}/cache/a b", ()), ("with letters", S, f"{PLACE}/cache/ü日", ()),
    ("with a line break", S, f"{PLACE}/cache/a\nb", ()), ("relative", S, "cache", ()),
    ("with dots", S, f"{PLACE}/home/../cache", ()),
    ("a file", R, f"{PLACE}/f", (Edit("put", "f", (b"",)),)),
    ("below a file", R, f"{PLACE}/f/x", (Edit("put", "f", (b"",)),)), ("a device", R, "/dev/null", ()),
    ("below a device", R, "/dev/null/x", ()), ("of the kernel", R, "/proc/x", ()), ("of the kernel", R, "/sys/x", ()),
    ("a long name", R, "/" + "x" * 300, ()), ("a very long name", R, f"{PLACE}/cache/" + "x/" * 3000, ()),
    ("a link to itself", R, f"{PLACE}/l", (Edit("link", "l", ("l",)),)),
    ("a pipe", R, f"{PLACE}/p", (Edit("pipe", "p"),)), ("no UTF-8", E, f"{PLACE}/cache/\udcff", ()),
)  # fmt: skip


def _cache(which: tuple[str, Expect, str, tuple[Edit, ...]]) -> Case:
    what, expect, value, edits = which
    return _case(
        f"FRAMEWORK_CACHE is {what}",
        expect,
        (("FRAMEWORK_CACHE", value),),
        edits=edits,
        names=("FRAMEWORK_CACHE", value, value[-20:], value[:40]),
        why="JSON cannot hold the name",
    )


@st.composite
def _home(draw: DrawFn) -> Case:
    """Draw a home; with a cache of its own no run needs one."""
    home = draw(
        st.sampled_from(
            [None, "", "/nope", "/proc", "/dev/null", "relative", f"{PLACE}/f", "\udcff", "~", "/" + "x" * 300]
        )
    )
    env: tuple[tuple[str, str | None], ...] = (("HOME", home),)
    user = draw(st.sampled_from([0, 12345])) if os.geteuid() == 0 else 0
    if draw(st.booleans()) and home is not None and home.startswith(("/proc", "/dev", "/nope", "/x", PLACE)):
        writable = home == "/nope" and os.geteuid() == 0 and not user
        if not writable:
            env = (*env, ("FRAMEWORK_CACHE", None), ("XDG_CACHE_HOME", None))
            return _case(
                "a home that cannot be written",
                R,
                env,
                edits=(Edit("put", "f", (b"",)),),
                process=Process(user=user),
                names=("HOME", "FRAMEWORK_CACHE", home),
            )
    return _case("a home that is not needed", S, env, edits=(Edit("put", "f", (b"",)),), process=Process(user=user))


def _stranger(home: str | None) -> Case:
    """Run as a user without an entry in passwd, as in a container."""
    env: tuple[tuple[str, str | None], ...] = (("HOME", home), ("FRAMEWORK_CACHE", None), ("USER", None))
    return _case(
        "a user that passwd does not know",
        R,
        env,
        process=Process(user=12345),
        names=("HOME", "FRAMEWORK_CACHE", "/nope"),
    )


PLUGINS = ("hf", "formats", "hf,formats", "hf, trackers", "evals", "trackers")


def _disabled(names: str) -> Case:
    return _case(
        "FRAMEWORK_DISABLE_PLUGINS takes what is needed",
        R,
        (("FRAMEWORK_DISABLE_PLUGINS", names),),
        names=("FRAMEWORK_DISABLE_PLUGINS", "model", "data", "metric", "logger", "trainer"),
    )


# ---- streams, limits, signals

WHY_LIMIT = "it depends on the limit and the machine whether a run fits into it"
STREAMS: tuple[tuple[str, Expect, Process, tuple[int, ...]], ...] = (
    ("stdin is closed", S, Process(stdin="closed"), ()), ("stdout is closed", S, Process(stdout="closed"), ()),
    ("stderr is closed", S, Process(stderr="closed"), ()),
    ("all are closed", S, Process("closed", "closed", "closed"), ()),
    ("stdout is full", E, Process(stdout="full"), ()), ("stdout is broken", E, Process(stdout="broken"), (141,)),
    ("stderr is broken", E, Process(stderr="broken"), (141,)), ("stderr is full", E, Process(stderr="full"), ()),
    ("both are broken", E, Process(stdout="broken", stderr="broken"), (141,)),
    ("stdout is ASCII", S, Process(encoding="ascii"), ()), ("stdout is Latin 1", S, Process(encoding="latin-1"), ()),
    ("stdout is cp437", S, Process(encoding="cp437"), ()), ("stdout is UTF-16", S, Process(encoding="utf-16"), ()),
    ("stdout is Shift JIS", S, Process(encoding="shift_jis"), ()),
    ("umask 0", S, Process(umask=0), ()),
    ("umask 0777 of root", S if os.geteuid() == 0 else R, Process(umask=0o777), ()),
    ("umask 0177", S if os.geteuid() == 0 else R, Process(umask=0o177), ()),
    ("stdin is a text", S, Process(stdin="y\n" * 50), ()),
)  # fmt: skip


def _stream(which: tuple[str, Expect, Process, tuple[int, ...]]) -> Case:
    what, expect, process, codes = which
    return _case(what, expect, process=process, codes=codes, why="what is printed is lost")


@st.composite
def _ignored(draw: DrawFn) -> Case:
    chosen = draw(
        st.lists(
            st.sampled_from(
                [
                    signal.SIGHUP,
                    signal.SIGPIPE,
                    signal.SIGINT,
                    signal.SIGTERM,
                    signal.SIGUSR1,
                    signal.SIGCHLD,
                    signal.SIGALRM,
                    signal.SIGXCPU,
                    signal.SIGQUIT,
                ]
            ),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    return _case("signals are ignored", S, process=Process(ignored=tuple(chosen)))


@st.composite
def _limits(draw: DrawFn) -> Case:
    name, limit, values = draw(
        st.sampled_from(
            [
                ("files", resource.RLIMIT_NOFILE, st.integers(12, 200)),
                ("the size of files", resource.RLIMIT_FSIZE, st.integers(0, 200_000)),
                ("memory", resource.RLIMIT_AS, st.integers(64 << 20, 1 << 30)),
                ("processes", resource.RLIMIT_NPROC, st.integers(1, 50)),
                ("the stack", resource.RLIMIT_STACK, st.integers(1 << 17, 1 << 23)),
                ("locked memory", resource.RLIMIT_MEMLOCK, st.just(0)),
            ]
        )
    )  # fmt: skip
    user = 12345 if limit == resource.RLIMIT_NPROC and os.geteuid() == 0 else 0
    return _case(f"a limit of {name}", E, process=Process(limits=((limit, draw(values)),), user=user), why=WHY_LIMIT)


REMOVED = _case("the working folder is removed", R, process=Process(cwd="removed"), names=("folder", "directory"))
CASES = st.one_of(
    _variables(), _variables(), _variables(), _libraries(), _libraries(), _libraries(), _group(), _anything(),
    st.sampled_from(CACHES).map(_cache), _home(), st.sampled_from(PLUGINS).map(_disabled),
    st.sampled_from(STREAMS).map(_stream),
    _ignored(), _limits(), st.just(REMOVED),
    *([st.sampled_from([None, "", "/nope"]).map(_stranger)] if os.geteuid() == 0 else []),
)  # fmt: skip
