"""`python -m bench.node SETTINGS`: the engine in a process tree of its own, told apart by its environment.

SETTINGS is JSON of `engine.settings` fields. Prints one line of JSON when it is ready; ends when its input ends.
"""

import json
import sys
from pathlib import Path

from engine.settings import load_settings
from launcher.app import running_app


def main() -> None:
    """Runs the app between "ready" and the end of standard input."""
    chosen = json.loads(sys.argv[1])
    directory = Path(chosen.pop("directory"))
    settings = load_settings(_env_file=None, **chosen)
    with running_app(settings, directory=directory, control_loop_s=0.5) as app:
        ready = {
            "url": app.url,
            "database_url": app.settings.database_url,
            "redis_url": app.settings.redis_url,
            "run_dir": str(app.run_dir),
        }
        print(json.dumps(ready), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
