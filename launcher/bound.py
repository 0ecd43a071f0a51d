"""Runs a command that ends with its parent, as another user if asked.

Usage: `bound.py SIGNAL PARENT USER COMMAND...`.

Run by path, isolated (`python -I -S`), so that nothing but the standard library is loaded before `exec`. It
replaces a `preexec_fn`, which may deadlock in a parent with threads. The process id stays the same.
Source: Linux, prctl(2), PR_SET_PDEATHSIG: survives `exec`, cleared by a change of user, hence the order here.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Drops to the user (`-` keeps the present one), binds the life to the parent's, becomes the command."""
    death_signal, parent, user, *command = arguments
    if user != "-":
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its child began")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
