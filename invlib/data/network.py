"""Whether a host answers, found out in seconds: no library's retries are waited for."""

import os
import socket
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, wait
from urllib.parse import urlsplit

SECONDS = 3.0  # how long a host may take to answer


def answer_within(seconds: float, call: Callable):
    """What `call` returns or raises; TimeoutError where it takes longer, whatever hangs (name server, proxy, host).

    It runs in a daemon thread: a name server that hangs obeys no timeout of a socket, and the process can still end.
    """
    answer: Future = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # raised again in the caller's thread
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([answer], seconds).done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return answer.result()


def reachable(url: str, seconds: float = SECONDS) -> bool:
    """Whether a host (or the proxy that stands before it) takes a connection within `seconds`."""
    target = urlsplit(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = target.hostname, target.port or (443 if target.scheme == "https" else 80)
    try:
        answer_within(seconds, lambda: socket.create_connection(address, timeout=seconds).close())
    except OSError:  # TimeoutError is one
        return False
    return True


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub, in the words that its clients take for yes."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hub_answers(seconds: float = SECONDS) -> bool:
    """Whether the model hub, or its mirror HF_ENDPOINT, can be reached; never where HF_HUB_OFFLINE is set."""
    return not offline() and reachable(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), seconds)
