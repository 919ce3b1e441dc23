"""What a machine finds out about its own addresses before it meets the others."""

from __future__ import annotations

import pytest

from framework import FrameworkError
from framework_plugins.launch.node import address_towards, interface_of, is_here


def test_the_machine_that_opens_the_port_is_the_one_that_has_the_address() -> None:
    assert is_here("127.0.0.1", "")
    assert not is_here("192.0.2.1", "")  # of no machine: it is for documentation
    with pytest.raises(
        FrameworkError, match=r"^launch\.rendezvous=x: no machine of this name is known here: give an ad"
    ):
        is_here("no.such.name.invalid", "launch.rendezvous=x")


def test_a_machine_gives_the_address_by_which_the_others_see_it() -> None:
    own = address_towards("127.0.0.1", 29400)
    assert own == "127.0.0.1"
    assert interface_of(own).startswith("lo")
    assert interface_of("192.0.2.1") == ""
