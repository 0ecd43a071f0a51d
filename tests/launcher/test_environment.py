"""Ray's environment: names that Ray really reads, paths that fit, and what is said when exports are missing."""

import re
import shlex
from pathlib import Path

import pytest
import ray

from launcher.environment import (
    essential_environment,
    exports_message,
    missing_exports,
    ray_environment,
)
from launcher.haproxy import haproxy_binary
from launcher.rundir import RunDirectory

NODE_ID = "f" * 56
SAFE = {**essential_environment(1800, 600), "RAY_AUTH_MODE": "token"}


def test_ray_reads_every_variable_that_is_set(tmp_path: Path) -> None:
    constants = (Path(ray.__file__).parent / "serve/_private/constants.py").read_text()
    read = set(re.findall(r'"(RAY_[A-Z_]+)"', constants))

    names = {
        name for name in ray_environment(tmp_path, max_call_s=1, drain_s=0) if name.startswith("RAY_SERVE")
    }
    assert len(names) > 15
    assert names <= read


def test_paths_of_sockets_fit_even_with_a_nodes_id_in_them() -> None:
    with RunDirectory() as run:
        environment = ray_environment(run.path, max_call_s=1800, drain_s=0)

    for name in ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"):
        path = Path(environment[name])
        temporary_suffix = len(".12345678.tmp")  # HAProxy binds beside the place and renames
        assert len(str(path.parent / NODE_ID / path.name)) + temporary_suffix <= 107


def test_two_instances_share_no_port_and_no_path(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = ray_environment(tmp_path / "one", max_call_s=1800, drain_s=0)
    two = ray_environment(tmp_path / "two", max_call_s=1800, drain_s=0)

    own = [name for name in one if name.endswith(("_PORT", "_PATH", "_LOC", "_BASE", "_FILE"))]
    assert len(own) == 11
    assert [name for name in own if one[name] == two[name]] == []


def test_haproxy_keeps_its_connections_longer_than_the_longest_call(tmp_path: Path) -> None:
    environment = ray_environment(tmp_path, max_call_s=3600.5, drain_s=0)

    assert int(environment["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) > 3600.5


def test_a_safe_environment_lacks_nothing() -> None:
    assert missing_exports(SAFE) == []


@pytest.mark.parametrize("name", sorted(SAFE))
def test_each_missing_export_is_named_with_its_value(name: str) -> None:
    without = {key: value for key, value in SAFE.items() if key != name}

    assert missing_exports(without) == [f"export {name}={shlex.quote(SAFE[name])}"]


@pytest.mark.parametrize(
    ("name", "value", "enough"),
    [
        ("RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "7200", True),
        ("RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "120", False),
        ("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "30", False),
        ("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "0.2", True),
        ("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "10", False),
        ("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.1", True),
        ("RAY_SERVE_ENABLE_HA_PROXY", "0", False),
        ("RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S", "soon", False),
        ("RAY_AUTH_MODE", "disabled", True),
    ],
)
def test_a_value_counts_by_what_it_does_to_calls(name: str, value: str, enough: bool) -> None:
    assert (missing_exports({**SAFE, name: value}) == []) is enough


def test_the_message_can_be_pasted_into_a_shell() -> None:
    message = exports_message(missing_exports({}))

    assert "ray stop" in message
    words = shlex.split(message.partition("\n")[2])
    assert set(words[::2]) == {"export"}
    assert dict(word.split("=", 1) for word in words[1::2]) == SAFE


def test_haproxy_is_looked_for_where_serve_looks() -> None:
    assert haproxy_binary({"PATH": ""})  # the wheel
    assert not haproxy_binary({"PATH": "", "RAY_SERVE_HAPROXY_BINARY_PATH": "/nonexistent/haproxy"})
