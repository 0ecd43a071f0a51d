"""Ray's and Serve's environment, set so that calls live; every name is read by Ray 2.60.

Ray reads it once, when a process imports `ray.serve`: it must be set before Ray starts, and a cluster that
runs already keeps its own. Source of the names: `ray/serve/_private/constants.py` and, for `RAY_AUTH_MODE`,
`ray/_private/authentication/authentication_token_setup.py`. What each default does to a call stands in
ARCHITECTURE.md.
"""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path

from launcher.haproxy import ADMIN, haproxy_command
from launcher.ports import free_block, free_ports

# A call that outlives this margin over MAX_CALL_S is cut by HAProxy at its next reload.
_HARD_STOP_MARGIN_S = 60
_REPLICA_PORTS = 500
# The other lines are HAProxy's: Serve writes this value into its configuration as it is, and has no settings for them.
# Without the option, a request whose body comes after its head is not tried again; without the time-out, connections on
# which no whole request comes are held for an hour, until HAProxy takes no other.
# The last adds a header that tells of senders elsewhere, by which /calls and /gauges are kept to this machine.
_RETRY_ON = (
    "conn-failure empty-response\n    option http-buffer-request\n    timeout http-request 4s"
    "\n    option forwardfor except 127.0.0.0/8"
)


def essential_environment(max_call_s: float, drain_s: float) -> dict[str, str]:
    """What every Serve that carries calls must be started with; times in seconds."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(math.ceil(max_call_s) + _HARD_STOP_MARGIN_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": f"{drain_s:g}",
        "RAY_SERVE_HAPROXY_RETRY_ON": _RETRY_ON,
        "RAY_SERVE_HAPROXY_OBSERVE_MARK_DOWN_ENABLED": "0",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "1",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_worker_niceness": "0",
        # A replica's answer to a process that has died blocks its event loop until Ray knows of the death: a second
        # for each by default, while a transaction of another may wait with its locks.
        "RAY_core_worker_rpc_server_reconnect_timeout_base_s": "0",
        "RAY_grpc_client_check_connection_status_interval_milliseconds": "50",
    }


def ray_environment(
    run_dir: Path, *, max_call_s: float, drain_s: float, haproxy: str | None = None
) -> dict[str, str]:
    """The whole environment of one instance of its own, beside which others may run on the same machine.

    `run_dir` is short and private (`launcher.rundir`). Ports are free ones. `haproxy` is the binary; without, Serve's
    own proxy is used. Authentication is not in it: `launcher.cluster.enable_token` sees to that.
    """
    directory = run_dir / "h"
    directory.mkdir(mode=0o700, exist_ok=True)
    stats_port, metrics_port = free_ports(2)
    replica_port = free_block(_REPLICA_PORTS)
    half = _REPLICA_PORTS // 2
    return {
        **essential_environment(max_call_s, drain_s),
        **(
            {"RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy_command(directory, haproxy))}
            if haproxy
            else {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
        ),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(directory / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(directory / ADMIN),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(directory / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(directory),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(directory / "server-state"),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",  # carries hundreds of calls; with more, each frame may wake another
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replica_port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replica_port + half - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(replica_port + half),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(replica_port + _REPLICA_PORTS - 1),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",  # for a dashboard, which does not run: 0.8 % of a core, idle
        "RAY_task_events_report_interval_ms": "0",  # for the same, which would keep them by the 100,000
        "RAY_event_stats": "0",  # of Ray's own loops, each of which wakes a hundred times a second
        # What sends logs to a driver, ours asks for none, looks for new ones ten times a second.
        "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
        "LOG_NAME_UPDATE_INTERVAL_S": "86400",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def missing_exports(
    environ: Mapping[str, str], *, max_call_s: float = 1800.0, drain_s: float = 600.0
) -> list[str]:
    """The `export NAME=value` commands that a Serve started with `environ` lacks; empty when calls are safe.

    Longer times than asked for are fine for the hard stop and the drain, shorter ones for health checks.
    """
    missing = []
    for name, wanted in essential_environment(max_call_s, drain_s).items():
        if not _suffices(name, environ.get(name), wanted):
            missing.append(f"export {name}={shlex.quote(wanted)}")
    # Explicit, because a token file in the home directory changes the default.
    if not environ.get("RAY_AUTH_MODE"):
        missing.append("export RAY_AUTH_MODE=token")
    return missing


_AT_LEAST = {"RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"}
_EXACT = {
    "RAY_SERVE_ENABLE_HA_PROXY",
    "RAY_SERVE_HAPROXY_RETRY_ON",
    "RAY_SERVE_HAPROXY_OBSERVE_MARK_DOWN_ENABLED",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD",
}
_ANY = {"RAY_worker_niceness"}  # whoever sets it knows what else needs the CPU


def _suffices(name: str, value: str | None, wanted: str) -> bool:
    if value is None or name in _EXACT:
        return value == wanted
    if name in _ANY:
        return True
    try:
        number = float(value)
    except ValueError:
        return False
    if name in _AT_LEAST:
        return number >= float(wanted)
    return 0 < number <= float(wanted) or value == wanted


def exports_message(lines: list[str]) -> str:
    """One message for a start without the exports: what happens to calls, and what to paste."""
    listing = "\n".join(f"  {line}" for line in lines)
    return (
        "Ray was started without settings that keep calls alive; stop it (ray stop), run these lines, "
        f"and start again:\n{listing}"
    )
