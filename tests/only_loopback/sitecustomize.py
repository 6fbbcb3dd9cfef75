"""A Python that finds this file on its path asks for no host beyond the loopback address.

What it asks for is refused, and written to the file that ASKED_HOSTS names: a library may take the refusal in silence.
"""

import ipaddress
import os
import sys


def watch(event: str, args: tuple) -> None:
    """An audit hook: Python tells it of each name that is looked up and of each address that is called."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
        host = args[1][0]
    else:  # the address of a socket of this machine's own is no tuple
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost"):
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass  # a name
    with open(os.environ["ASKED_HOSTS"], "a", encoding="utf-8") as asked:
        print(event, host, *sys.argv, file=asked)
    raise OSError(f"only the loopback address may be asked here, not {host}")


sys.addaudithook(watch)
