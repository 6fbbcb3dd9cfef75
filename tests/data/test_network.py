"""Hosts that answer, refuse or hang."""

import time

import pytest

from invlib.data.network import answer_within, reachable


def test_answer_within():
    assert answer_within(5, lambda: 3) == 3
    with pytest.raises(KeyError, match="mine"):
        answer_within(5, lambda: {}["mine"])
    with pytest.raises(TimeoutError, match="its own"):  # the call's own, not ours

        def late():
            raise TimeoutError("its own")

        answer_within(5, late)
    with pytest.raises(TimeoutError, match="no answer within 0.1 s"):
        answer_within(0.1, lambda: time.sleep(5))


def test_a_host_that_does_not_answer():
    """A name that can't exist is given up at once."""
    assert not reachable("https://no-such-host.invalid", seconds=2)
