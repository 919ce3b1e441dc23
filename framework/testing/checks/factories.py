"""The factories of a plugin's components: whether they load, and whether their products satisfy the protocols."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import operator
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from framework.api.component import Component
from framework.api.diagnostic import Diagnostic
from framework.api.fields import fields
from framework.hooks.validation import missing_factory
from framework.testing.checks import results
from framework.testing.checks.hooks import Offer
from framework.testing.protocols import lacks
from framework.util.errors import FrameworkError, error_location, summarize_error
from framework.util.guard import Caught


def problems(offers: Sequence[Offer]) -> Iterator[str]:
    """Import each factory, call it if that needs no setting, and look at what it gives."""
    for offer in offers:
        component = offer.component
        if not all(part.isidentifier() for part in component.factory.replace(":", ".").split(".")) or (
            component.factory.count(":") != 1
        ):
            yield f"{offer}: factory='{component.factory}' has to be 'package.module:attribute'"
            continue
        if problem := missing_factory(component):
            yield problem
            continue
        try:
            factory = component.load()
        except FrameworkError as error:
            yield str(error)
            continue
        if not callable(factory):
            yield f"{offer}: {component.factory} cannot be called: it is {factory!r}"
            continue
        try:
            product = _product(component, factory)
        except Exception as error:  # noqa: BLE001 - third-party code
            raised = f"{summarize_error(error)}{error_location(error)}"
            yield f"{offer}: {component.factory} raises {raised} with the default settings"
            continue
        if product is not None:
            kind = product.__name__ if isinstance(product, type) else type(product).__name__
            lacking = [f"{offer}: {kind} {problem}" for problem in lacks(product, offer.group.product)]
            yield from lacking
            if not lacking and not isinstance(product, type):
                yield from results.problems(offer, product)


def diagnostics(registered: Sequence[Diagnostic]) -> Iterator[str]:
    """Import what each diagnostic names; it is not called, for it may do what crashes."""
    for diagnostic in registered:
        module, _, attribute = diagnostic.check.partition(":")
        check, failed = None, Caught()
        with failed:
            check = operator.attrgetter(attribute)(importlib.import_module(module))
        if error := failed.error:
            raised = f"{summarize_error(error)}{error_location(error)}"
            yield f"diagnostic '{diagnostic.name}': {diagnostic.check} cannot be imported: {raised}"
            continue
        if not callable(check):
            yield f"diagnostic '{diagnostic.name}': {diagnostic.check} cannot be called: it is {check!r}"


def _product(component: Component, factory: Callable[[Any], Any]) -> Any:
    """Return what the factory makes of the defaults; if a setting has none, its class as far as that is known."""
    if not any(setting.required for setting in fields(component.schema)):
        try:
            return factory(component.schema())
        except FrameworkError:  # it says that it cannot work here, which is not a fault
            pass
    if inspect.isclass(factory):
        return factory
    with contextlib.suppress(Exception):  # annotations may name what is imported for type checkers only
        returned = typing.get_type_hints(factory).get("return")
        return returned if inspect.isclass(returned) else None
    return None
