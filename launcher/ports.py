"""Free TCP ports on this machine, and who may have a taken one."""

import contextlib
import random
import socket

from launcher.errors import LaunchError


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger after a server ended do not hold its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """`count` different ports that are free on all interfaces now; another process may still be quicker."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            probe.bind(("", 0))
            ports.append(int(probe.getsockname()[1]))
    return ports


def free_block(size: int) -> int:
    """First port of a block below the ephemeral range whose ends and beginning are free.

    Two Serves that share a range hand the same ports to their replicas, so each instance has its own.
    """
    starts = list(range(12_000, 32_000 - size, size))
    random.SystemRandom().shuffle(starts)
    for start in starts:
        if all(is_free(port, "0.0.0.0") for port in range(start, start + 8)):
            return start
    raise LaunchError("No free block of TCP ports between 12000 and 32000: stop another instance.")
