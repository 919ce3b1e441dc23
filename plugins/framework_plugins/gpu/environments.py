"""An environment for each peer, made by the command. If one cannot be made, the reason is the result."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework import FrameworkError
from framework.api import pip_command, write_atomically
from framework_plugins.gpu.card import Environment, probe

SECONDS = 3600
"""For an installation: a slow line needs half an hour for six gigabytes."""
KERNEL_SECONDS = 300
HUB_KERNEL = "kernels-community/flash-attn2"
"""Flash attention as the Hub has it, built for many versions of torch."""
MADE = "made.json"
PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--no-compile", "--quiet", "--retries", "2")
FULL = "No space left on device"


class DiskFullError(Exception):
    """A program that the command started has filled the disk."""


@dataclass(frozen=True)
class PeerEnvironment:
    """What to install for a peer.

    Attributes:
        name: of its folder.
        requirements: for pip, all in one call; if one cannot be installed, none is.
        optional: kernels that make the peer faster, wheels only; what an index does not have is left out.
        hub_kernel: whether to fetch flash attention from the Hub too.
        gib: about what it takes on disk.
        download_gb: about what pip downloads.
    """

    name: str
    requirements: tuple[str, ...]
    optional: tuple[str, ...] = ()
    hub_kernel: bool = False
    gib: float = 0.0
    download_gb: float = 0.0


TRL = PeerEnvironment(
    "trl",
    ("trl==1.16.0", "transformers==5.24.0", "peft==0.21.2", "bitsandbytes==0.50.2", "liger-kernel==0.8.5"),
    ("flash-attn", "kernels>=0.18.2,<0.19"),
    hub_kernel=True,
    gib=6.0,
    download_gb=3.0,
)
UNSLOTH = PeerEnvironment("unsloth", ("framework-finetune[unsloth]",), gib=8.0, download_gb=4.0)
"""With framework itself, since `trainer=unsloth` is measured there too."""


def environment(peer: PeerEnvironment, folder: Path, torch: str, say: Callable[[str], None]) -> Environment:
    """Return the environment of a peer, making it if there is none of these requirements.

    Args:
        peer: what to install.
        folder: where the environments are.
        torch: the version of torch that framework is measured with; the peer gets the same.
        say: shows what is being done.

    Raises:
        DiskFullError: the disk is full.
    """
    target = folder / peer.name
    python = target / "bin" / "python"
    # An extra of framework comes from where framework came from.
    requirements = shlex.split(
        " ".join(pip_command([requirement]).removeprefix("pip install ") for requirement in peer.requirements)
    )
    # The same torch, if the peer admits it; an index has 2.13.0, and not 2.13.0+cu130.
    torch_requirement = f"torch=={torch.partition('+')[0]}"
    mark = json.dumps([requirements, torch_requirement, peer.optional])
    if not (python.exists() and (target / MADE).exists() and (target / MADE).read_text(encoding="utf-8") == mark):
        say(f"installing {peer.name} into {target} …")
        shutil.rmtree(target, ignore_errors=True)
        try:
            _make(target)
            if not _tried([python, *PIP, *requirements, torch_requirement]):
                _run([python, *PIP, *requirements])
        except _FailedError as error:
            shutil.rmtree(target, ignore_errors=True)
            return _no_environment(error)
        for requirement in peer.optional:
            _tried([python, *PIP, "--only-binary", ":all:", requirement])
        if peer.hub_kernel:
            code = f"import kernels; kernels.get_kernel({HUB_KERNEL!r})"
            _tried([python, "-c", code], KERNEL_SECONDS)
        write_atomically(target / MADE, mark)
    try:
        machine = probe(python)
    except FrameworkError as error:
        return _no_environment(error)
    if not machine.cards:
        torch = f"torch {machine.versions.get('torch', '')} for CUDA {machine.cuda}"
        return _no_environment(f"{torch} sees no GPU there {machine.problem}".strip())
    return Environment(python, machine.versions)


def _no_environment(reason: object) -> Environment:
    return Environment(None, missing=f"no environment: {reason}", try_again=True)


def _make(target: Path) -> None:
    """Make an empty environment, by uv if this Python has no pip to give to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _run([sys.executable, "-m", "venv", target])
    except _FailedError:
        if (uv := shutil.which("uv")) is None:
            raise
        _run([uv, "venv", "--seed", "--clear", "--python", sys.executable, target])


class _FailedError(Exception):
    """A command failed; its text is the last line that it printed."""


def _tried(command: Sequence[str | Path], seconds: float = SECONDS) -> bool:
    try:
        _run(command, seconds)
    except _FailedError:
        return False
    return True


def _run(command: Sequence[str | Path], seconds: float = SECONDS) -> None:
    try:
        process = subprocess.run(  # noqa: S603 - our own words
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _FailedError(f"it took more than {seconds:,.0f} s") from error
    if process.returncode:
        if FULL in process.stdout:
            raise DiskFullError
        lines = [line for line in process.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line]
        raise _FailedError((errors or lines or [f"exit code {process.returncode}"])[-1].strip()[:300])
