"""`python -m launcher.deploy` (`make deploy`): the app that `make serve` runs is replaced, while calls go on.

With `--cluster`, it is the app that `serve run` started on the Ray cluster of which this machine is a node.

The new version is built from the code and the settings as they are now. It starts beside the old one and takes new
calls; calls of before have the drain time to end where they are. One that takes longer goes on with the new version, in
a new stream, after an apology. What `make serve` started around the app stays as it is.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console

from engine.settings import Settings, SettingsError, load_settings
from launcher import cluster
from launcher.app import build_app, url_of
from launcher.checks import check_fallbacks, check_signed, check_version
from launcher.database import migrate
from launcher.errors import LaunchError
from launcher.plan import Addresses, plan_for, settled
from launcher.stage import MIGRATION_S
from launcher.tracks import read_run_file

HOME = Path(".trunkline")
START_S = 120.0
SWITCH_S = 30.0
_IN_A_ROW = 3  # answers of the new version for each of its replicas: HAProxy asks them in turn
_POLL_S = 0.1
_INTERRUPTED = 130
_STARTS = "The new version starts beside the old one, which takes calls meanwhile."


def main() -> None:
    """Replaces the app; ends with code 1 and one sentence when that can't be, and then the old one goes on."""
    parser = argparse.ArgumentParser(
        prog="launcher.deploy", description="Replaces the app while calls go on."
    )
    parser.add_argument("--cluster", action="store_true", help="the app of this machine's Ray cluster")
    on_cluster = parser.parse_args().cluster
    try:
        if on_cluster:
            deploy_on_cluster(load_settings(), Console())
        else:
            deploy(load_settings(), HOME, Console())
    except (SettingsError, LaunchError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def deploy(given: Settings, home: Path, console: Console) -> None:
    """Builds, replaces, and returns when new calls go to the new version."""
    facts = read_run_file(home)
    settings = kept(given, facts)
    check_version(settings)
    url = facts["url"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": facts["ray_auth_token"]}
    with cluster.joined_cluster(facts["ray_address"], {**facts["ray_environment"], **token}):
        built = _built(settings)  # here, because Ray reads the environment when it is imported
        asyncio.run(_migrated(settings.database_url))
        console.print(_STARTS)
        pids = cluster.replace_application(built, START_S)
    _wait_for_answers(url, pids, settings.ingress_replicas * _IN_A_ROW)
    calls = _ask(url)["calls"]
    older = sum(call["ingress_pid"] not in pids for call in calls)
    console.print(
        f"New calls go to the new version. {older} calls of before have {facts['drain_s']:g} s to end."
    )
    if given.drain_s != facts["drain_s"]:
        console.print("DRAIN_S is read when make serve starts: the new one is not used yet.", style="yellow")


def deploy_on_cluster(settings: Settings, console: Console) -> None:
    """As `deploy`; what the app needs is all configured, and the environment is that with which Ray was started."""
    plan = plan_for(settings)
    if plan.postgres or plan.valkey or plan.speech or plan.receptionist:
        raise LaunchError(
            "A cluster has no stand-ins: set DATABASE_URL, REDIS_URL, DEEPGRAM_API_KEY, OPENAI_API_KEY."
        )
    check_fallbacks(settings)
    check_signed(settings, anywhere=True)
    check_version(settings)
    with cluster.joined_cluster("auto", {}):
        built = _built(settings)
        asyncio.run(_migrated(settings.database_url))
        console.print(_STARTS)
        cluster.replace_application(built, START_S)
    console.print("The new version runs. Calls of before have the drain time with which Ray was started.")


def kept(given: Settings, facts: Mapping[str, Any]) -> Settings:
    """The settings with the addresses of what runs already. Raises `LaunchError` where they need what doesn't."""
    # As Ray was told when it started.
    given = given.model_copy(update={"drain_s": facts["drain_s"]})
    settings = settled(given, Addresses(**facts["addresses"]))
    if settings.max_call_s > facts["max_call_s"]:
        raise LaunchError(
            f"MAX_CALL_S can't grow while the app runs, from {facts['max_call_s']:g}: start make serve anew."
        )
    if url_of(settings) != facts["url"]:
        raise LaunchError(
            f"HOST and PORT are kept while the app runs, at {facts['url']}: set them back, or start make serve anew."
        )
    if settings.redis_url != facts["redis_url"]:
        raise LaunchError(
            "REDIS_URL is kept while the app runs, because its calls are there: set it back, or start make serve anew."
        )
    return settings


def _built(settings: Settings) -> Any:
    try:
        return build_app(settings)
    except Exception as error:  # whatever is wrong with the code that is there now
        what = f"{type(error).__name__}: {error}"
        raise LaunchError(f"The new version can't be built, so the older one goes on ({what}).") from error


async def _migrated(database_url: str) -> None:
    async with asyncio.timeout(MIGRATION_S):
        await migrate(database_url)


def _wait_for_answers(url: str, pids: set[int], in_a_row: int) -> None:
    """Waits until HAProxy sends requests to these processes only; for a moment it knows the older ones, too."""
    deadline, answers = time.monotonic() + SWITCH_S, 0
    while answers < in_a_row:
        if time.monotonic() >= deadline:
            raise LaunchError(
                f"The new version runs, but requests still reach the older one after {SWITCH_S:g} s."
            )
        answers = answers + 1 if _ask(url)["pid"] in pids else 0
        if not answers:
            time.sleep(_POLL_S)


def _ask(url: str) -> dict[str, Any]:
    """The calls under way, and whose answer it is; on a new connection, because a kept one stays where it is."""
    try:
        return dict(httpx2.get(f"{url}/calls", timeout=5.0).raise_for_status().json())
    except (httpx2.HTTPError, ValueError) as error:
        raise LaunchError(
            f"The app at {url} does not say which calls are under way ({error}): see make logs."
        ) from None


if __name__ == "__main__":
    main()
