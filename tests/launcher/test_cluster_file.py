"""The cluster file keeps to Ray's schema, and starts Ray with what calls need."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import validate_config

from launcher.environment import missing_exports

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "ray_cluster.yaml").read_text()))


def test_the_cluster_file_keeps_to_rays_schema(cluster: dict[str, Any]) -> None:
    validate_config(cluster)


def test_rays_schema_refuses_a_cluster_file_with_a_misspelt_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="head_start_commands"):
        validate_config({**cluster, "head_start_commands": []})


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_every_node_starts_ray_with_what_calls_need(
    cluster: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    commands = cluster[f"{kind}_start_ray_commands"]
    (tmp_path / "trunkline").mkdir()
    writes = next(command for command in commands if "> ~/trunkline/ray.env" in command)
    subprocess.run(
        ["/bin/sh", "-c", writes], env={**os.environ, "HOME": str(tmp_path)}, check=True, timeout=30
    )
    words = shlex.split((tmp_path / "trunkline" / "ray.env").read_text())  # as the shell reads it
    environment = dict(word.split("=", 1) for word in words)

    assert missing_exports(environment) == []
    start = commands.index(writes) + 1
    assert ". ./ray.env && set +a" in commands[start]
    assert "ray start" in commands[start]


def test_the_number_of_nodes_is_fixed(cluster: dict[str, Any]) -> None:
    worker = cluster["available_node_types"]["worker"]

    assert worker["min_workers"] == worker["max_workers"] == cluster["max_workers"]


def test_no_secret_stands_in_the_cluster_file() -> None:
    text = (ROOT / "ray_cluster.yaml").read_text()

    for name in ("DATABASE_URL", "REDIS_URL", "DEEPGRAM_API_KEY", "OPENAI_API_KEY", "RAY_AUTH_TOKEN"):
        assert f"{name}=" not in text
