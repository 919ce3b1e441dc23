"""What a Python has, as a line of JSON: `python probe.py`. Versions, and the GPUs that its torch can use."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import warnings

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "liger-kernel", "flash-attn", "kernels", "triton",
             "unsloth", "unsloth_zoo", "xformers", "framework-finetune")  # fmt: skip
WSL = "/usr/lib/wsl/lib"
"""Where Windows puts the driver's programs into its Linux."""


def driver() -> str:
    """Return the version of the NVIDIA driver; empty if there is none."""
    tool = shutil.which("nvidia-smi", path=os.pathsep.join([os.environ.get("PATH", ""), WSL]))
    if tool is None:
        return ""
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        process = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout.strip().partition("\n")[0]


found = {
    "python": platform.python_version(),
    "system": platform.system() + (", WSL" if "microsoft" in platform.release().lower() else ""),
    "driver": driver(),
    "versions": {},
    "cuda": None,
    "cards": [],
    "problem": "",
}
for name in LIBRARIES:
    try:
        found["versions"][name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        continue
try:
    import torch
except Exception as error:
    found["problem"] = f"torch cannot be imported: {error}"
else:
    found["cuda"] = torch.version.cuda
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            about = torch.cuda.get_device_properties(number)
            found["cards"].append(
                {"name": about.name, "memory": about.total_memory, "capability": f"{about.major}.{about.minor}"}
            )
    found["problem"] = " ".join(str(each.message).strip().partition("\n")[0] for each in caught)
sys.stdout.write(json.dumps(found) + "\n")
