"""Whether a host answers, found out in seconds: no library's retries are waited for."""

import os
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

SECONDS = 3.0  # how long a host may take to answer


def reachable(url: str, seconds: float = SECONDS) -> bool:
    """Whether a host (or the proxy that stands before it) takes a connection within `seconds`."""
    target = urlsplit(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = target.port or (443 if target.scheme == "https" else 80)
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((target.hostname, port), timeout=seconds).close()
        except OSError:
            return
        answers.append(True)

    # A thread of its own: a name server that does not answer is not bound by the socket's time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


def hub() -> str:
    """The address of the model hub, a mirror where HF_ENDPOINT names one."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub, in the words that its clients take for yes."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hub_answers(seconds: float = SECONDS) -> bool:
    """Whether the model hub can be reached; never where HF_HUB_OFFLINE is set."""
    return not offline() and reachable(hub(), seconds)
