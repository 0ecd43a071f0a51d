"""A Ray cluster of its own on this machine, with Serve on it, for as long as the context lasts."""

import contextlib
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from launcher.errors import LaunchError

_POLL_S = 0.1
_STOP_S = 5.0
# Nothing of ours is kept there.
_OBJECT_STORE_BYTES = 100 * 1024 * 1024


def enable_token() -> str:
    """Makes Ray demand a token, made once a process, and returns it.

    Ray's sockets listen on every interface, and whoever speaks to them may run code. The token stays for the
    life of the process, because Ray's client keeps both token and mode; a Ray that was imported before it
    was set is told to read the environment again.
    """
    if os.environ.get("RAY_AUTH_MODE") != "token" or "RAY_AUTH_TOKEN" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
        if "ray" in sys.modules:
            from ray._private.authentication_test_utils import reset_auth_token_state

            reset_auth_token_state()
    return os.environ["RAY_AUTH_TOKEN"]


@contextlib.contextmanager
def environment_of(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process, which Ray's processes inherit, and puts back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def ray_cluster(run_dir: Path, environment: Mapping[str, str], *, num_cpus: int = 2) -> Iterator[None]:
    """Starts Ray without a dashboard, its logs in files in `run_dir`; ends it with all its processes.

    Ray is imported here, after the environment is set: it reads the variables at import.
    Raises `LaunchError` if Ray is connected already in this process.
    """
    enable_token()
    with environment_of(environment):
        import ray

        if ray.is_initialized():
            raise LaunchError("Ray runs already in this process: call ray.shutdown() first.")
        session = run_dir / "r"
        session.mkdir(mode=0o700, exist_ok=True)
        try:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(session),
                _node_ip_address="127.0.0.1",
            )
            yield
        finally:
            with _quietly(run_dir):
                ray.shutdown()


def address() -> str:
    """Where other processes of this machine reach the cluster that this one is connected to."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


@contextlib.contextmanager
def joined_cluster(at: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Connects this process to a cluster that was started with this environment, and leaves it running.

    `at` is its address; "auto" finds the one on this machine. Raises `LaunchError` when there is none.
    """
    with environment_of(environment):
        import ray

        try:
            ray.init(address=at, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError) as error:
            raise LaunchError(f"Ray ({at}) does not answer, is it running? {error}") from error
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _quietly(run_dir: Path) -> Iterator[None]:
    """Ray prints that its controller was killed when it is told to end it: that is for the log."""
    with (run_dir / "stop.log").open("a") as log, contextlib.redirect_stdout(log):
        yield


def start_serve(host: str, port: int) -> None:
    """Starts Serve's controller and the proxy, which takes a while and needs no application yet."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    # No time-out: a call is one request, and it ends when its people do.
    serve.start(http_options={"host": host, "port": port, "request_timeout_s": None})


def run_application(application: Any) -> None:
    """Deploys and waits until all replicas run. Raises `LaunchError` with Serve's reason."""
    import ray.serve._private.client as client
    from ray import serve

    # Serve looks once a second whether the application is up; that second is the user's.
    client.CLIENT_POLLING_INTERVAL_S = _POLL_S  # type: ignore[attr-defined]
    try:
        serve.run(application)
    except RuntimeError as error:
        raise LaunchError(f"The application did not start: {error}") from error


def replace_application(application: Any, timeout_s: float) -> set[int]:
    """Puts a new version in the place of the one that runs; returns the process ids of all its replicas.

    Returns when they run and no older replica takes new requests; Serve itself counts a version as running only when
    the last older replica has ended, which is after the drain time. Raises `LaunchError`: then the older version stays.
    """
    from ray import serve
    from ray.serve.context import _get_global_client

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    client = _get_global_client()
    assert client is not None
    older = set(_running(client.get_serve_details()))
    serve.run_many([serve.RunTarget(application)], wait_for_applications_running=False)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        running = _running(details := client.get_serve_details())
        if older.isdisjoint(running) and _complete(details):
            return set(running.values())
        if (why := _failure(details)) is not None:
            raise LaunchError(f"The new version did not start, the older one goes on: {why}")
        time.sleep(_POLL_S)
    raise LaunchError(f"The new version did not start in {timeout_s:g} s: see make logs.")


def _deployments(details: Any) -> list[Any]:
    return list(details["applications"]["default"]["deployments"].values())


def _running(details: Any) -> dict[str, int]:
    """The replicas that take requests: their process ids by name."""
    return {
        replica["replica_id"]: replica["pid"]
        for deployment in _deployments(details)
        for replica in deployment["replicas"]
        if replica["state"] == "RUNNING"
    }


def _complete(details: Any) -> bool:
    """Whether each deployment has all its replicas."""
    return all(
        sum(replica["state"] == "RUNNING" for replica in deployment["replicas"])
        >= deployment["target_num_replicas"]
        for deployment in _deployments(details)
    )


def _failure(details: Any) -> str | None:
    """Why the application can't be deployed, if it can't."""
    application = details["applications"]["default"]
    if application["status"] != "DEPLOY_FAILED":
        return None
    reasons = [one["message"] for one in _deployments(details) if one["status"] == "DEPLOY_FAILED"]
    return "\n".join([application["message"], *reasons])


def stop_serve(run_dir: Path) -> None:
    """Lets replicas end as they wish (logs written, sockets closed) for some seconds, then ends Serve.

    An ingress replica waits out the whole draining period, also when it is idle: by now calls have ended or
    are cut, so it is not waited for.
    """
    from ray import serve
    from ray.serve.context import _get_global_client

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with _quietly(run_dir):
        client = _get_global_client(raise_if_no_controller_running=False)
        if client is not None:
            client.shutdown(timeout_s=_STOP_S)
        serve.shutdown()  # type: ignore[no-untyped-call]


def wait_until_ready(url: str, timeout_s: float) -> None:
    """Asks until it says 200. Raises `LaunchError` with the last answer."""
    deadline = time.monotonic() + timeout_s
    answer = "nothing yet"
    while time.monotonic() < deadline:
        try:
            reply = httpx2.get(url, timeout=5.0)
        except httpx2.HTTPError as error:
            answer = type(error).__name__
        else:
            if reply.status_code == httpx2.codes.OK:
                return
            answer = f"{reply.status_code} {reply.text[:300]}"
        time.sleep(_POLL_S / 2)
    raise LaunchError(f"The application was not ready after {timeout_s:g} s; {url} says: {answer}")
