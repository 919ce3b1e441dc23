"""Whether what a factory gives offers what the protocol of its group asks for.

`isinstance` with a runtime protocol looks at names only. Here the parameters are checked too: a method has to take
those of the protocol by their names, and in their order.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from framework.api import protocols

METRICS = (protocols.Metric, protocols.AnswerMetric)


def lacks(product: Any, protocol: type) -> list[str]:
    """Return what an object, or a class that cannot be instantiated here, lacks of a protocol.

    Each is the end of a sentence that begins with the product's name: `has no method score(answer, reference)`. A
    metric may be of either kind.
    """
    kind = product if isinstance(product, type) else type(product)
    if protocol is protocols.Metric and issubclass(kind, protocols.AnswerMetric):
        protocol = protocols.AnswerMetric
    if protocol is protocols.Reward and not hasattr(product, "rewards"):  # a metric is one
        return lacks(product, protocols.Metric)
    return [*_attributes(product, protocol), *_methods(product, protocol)]


def _attributes(product: Any, protocol: type) -> Iterator[str]:
    for name in inspect.get_annotations(protocol):
        if hasattr(protocol, name) and not hasattr(product, name):
            continue  # it has a default
        if not hasattr(product, name) and not (isinstance(product, type) and _sets(product, name)):
            yield f"has no attribute '{name}'"
        elif (
            protocol in METRICS
            and name not in ("unit", "kind")
            and not isinstance(getattr(product, name, True), bool | property)
        ):
            yield f"has {name}={getattr(product, name)!r}, which has to be True or False"


def _sets(kind: type, name: str) -> bool:
    """Whether the source of a class sets an attribute of its objects."""
    try:
        source = "".join(inspect.getsource(base) for base in kind.__mro__ if base is not object)
    except (OSError, TypeError):
        return True  # there is no source to read, so nothing is known
    return re.search(rf"\bself\.{name}\b.*=|^\s+{name}\s*:", source, re.MULTILINE) is not None


def _methods(product: Any, protocol: type) -> Iterator[str]:
    for name, declared in vars(protocol).items():
        if name.startswith("_") or not inspect.isfunction(declared):
            continue
        parameters = [part for part in inspect.signature(declared).parameters.values() if part.name != "self"]
        signature = f"{name}({', '.join(_written(parameters))})"
        method = getattr(product, name, None)
        if method is None and getattr(declared, "__isabstractmethod__", False):
            yield f"has no method {signature}{_advice(product, protocol)}"
        elif method is None:
            continue
        elif not callable(method):
            yield f"has {name}={method!r}, no method {signature}"
        elif (actual := _signature_of(product, name, method)) is not None and not _takes(actual, parameters):
            yield f"has {name}({', '.join(_written(list(actual.parameters.values())))}), which has to be {signature}"


def _advice(product: Any, protocol: type) -> str:
    """Say which class would have the method, or would do without it."""
    if protocol is protocols.Logger:
        return ": subclass framework.api.Logger"
    if protocol is protocols.Metric and hasattr(product, "score_all"):
        return ": subclass framework.api.AnswerMetric for score_all(answers)"
    return ""


def _signature_of(product: Any, name: str, method: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a method without `self`; None if it is unknown."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return None
    if isinstance(product, type) and inspect.isfunction(inspect.getattr_static(product, name)):
        return signature.replace(parameters=list(signature.parameters.values())[1:])
    return signature


def _takes(signature: inspect.Signature, parameters: list[inspect.Parameter]) -> bool:
    """Whether a call binds the same by position and by name."""
    named = [part.name for part in parameters]
    ordered = [part.name for part in parameters if part.kind is not part.KEYWORD_ONLY]
    try:
        by_name = signature.bind(**{name: name for name in named}).arguments
        by_place = signature.bind(*ordered, **{name: name for name in named if name not in ordered}).arguments
    except TypeError:
        return False
    plain = {
        name for name, part in signature.parameters.items() if part.kind not in (part.VAR_POSITIONAL, part.VAR_KEYWORD)
    }
    return all(by_place.get(name, name) == name == by_name.get(name, name) for name in plain)


def _written(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """Write parameters as in a signature, without types."""
    star = False
    for part in parameters:
        if part.kind is part.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        star = star or part.kind is part.VAR_POSITIONAL
        mark = "*" if part.kind is part.VAR_POSITIONAL else "**" if part.kind is part.VAR_KEYWORD else ""
        yield f"{mark}{part.name}"
