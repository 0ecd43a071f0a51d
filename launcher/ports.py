"""Free TCP ports on this machine, and who may have a taken one."""

import random
import socket

from launcher.errors import LaunchError

# Linux gives connections that go out ports from 32,768 on.
_SINGLE, _BLOCKS = range(10_000, 16_000), range(16_000, 32_000)


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
    """`count` different ports that are free on all interfaces now; another server may still be quicker.

    They are below the ephemeral range: out of that, any connection that goes out could take one before it is used.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(_SINGLE, len(_SINGLE)):
        if is_free(port, "0.0.0.0"):
            found.append(port)
            if len(found) == count:
                return found
    raise LaunchError(f"No {count} free TCP ports from {_SINGLE[0]} to {_SINGLE[-1]}: stop another instance.")


def free_block(size: int) -> int:
    """First port of a block below the ephemeral range whose ends and beginning are free.

    Two Serves that share a range hand the same ports to their replicas, so each instance has its own.
    """
    starts = list(range(_BLOCKS.start, _BLOCKS.stop - size, size))
    random.SystemRandom().shuffle(starts)
    for start in starts:
        if all(is_free(port, "0.0.0.0") for port in range(start, start + 8)):
            return start
    raise LaunchError(
        f"No free block of TCP ports from {_BLOCKS[0]} to {_BLOCKS[-1]}: stop another instance."
    )
