"""How many examples hypothesis tries: few while one works (the profile `dev`), all in `ci`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and no test is about that.
ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `dev` decides whether a change lands, so the same tree draws the same examples; `ci` draws new ones each time.
settings.register_profile("dev", ANY_MACHINE, max_examples=10, derandomize=True)
settings.register_profile("ci", ANY_MACHINE, max_examples=100)
settings.load_profile("dev")


def examples(number: int) -> int:
    """Return the `max_examples` of a test that tries this many in `ci`; in another profile, what that has."""
    return number if settings.get_current_profile_name() == "ci" else settings().max_examples
