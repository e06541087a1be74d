"""The files in deploy/ can be read, agree with each other, and are what their readers expect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from mvdefect.client.addresses import parse_address
from mvdefect.client.client import LARGEST_COUNT

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
NAME, REST, GRPC = "inspector", 8501, 8500
CONFIGS = ("models.config", "batching.config", "monitoring.config")
# Of session_bundle_config.proto; it and monitoring_config.proto are not in the package for clients.
BATCHING = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"][NAME]


@pytest.fixture(scope="module")
def cluster() -> dict[str, dict[str, Any]]:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    assert len({(one["kind"], one["metadata"]["name"]) for one in documents}) == len(documents)
    return {one["kind"]: one for one in documents}


@pytest.fixture(scope="module")
def pod(cluster: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return cluster["Deployment"]["spec"]["template"]["spec"]


def make_message(name: str, fields: dict[str, str], inner: dict[str, str]) -> Any:
    """Return an empty message with fields of one kind of inner message; of both types are by name."""
    kinds = {"int64": 3, "bool": 8, "string": 9, "message": 11}
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    for title, chosen in (("Inner", inner), ("Outer", fields)):
        message = file.message_type.add(name=title)
        for number, (field, kind) in enumerate(chosen.items(), 1):
            one = message.field.add(name=field, number=number, type=kinds[kind], label=1)
            if kind == "message":
                one.type_name = f".{name}.Inner"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{name}.Outer"))()


def test_the_model_is_where_both_deployments_put_it(compose: dict[str, Any], pod: dict[str, Any]) -> None:
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    found = text_format.Parse((DEPLOY / "models.config").read_text(), config.ModelServerConfig())
    (model,) = found.model_config_list.config
    assert (model.name, model.model_platform) == (NAME, "tensorflow")
    assert any(volume.endswith(f":{model.base_path}:ro") for volume in compose["volumes"])
    mounts = pod["containers"][0]["volumeMounts"]
    assert [one["readOnly"] for one in mounts if one["mountPath"] == model.base_path] == [True]


def test_batches_hold_what_a_client_sends() -> None:
    message = make_message("batching", dict.fromkeys(BATCHING, "message"), {"value": "int64"})
    found = text_format.Parse((DEPLOY / "batching.config").read_text(), message)
    assert found.max_batch_size.value == LARGEST_COUNT
    assert all(getattr(found, name).value > 0 for name in BATCHING)


def test_figures_are_where_prometheus_looks(cluster: dict[str, dict[str, Any]]) -> None:
    message = make_message(
        "monitoring", {"prometheus_config": "message"}, {"enable": "bool", "path": "string"}
    )
    found = text_format.Parse((DEPLOY / "monitoring.config").read_text(), message).prometheus_config
    notes = cluster["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert found.enable
    assert notes == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(REST),
        "prometheus.io/path": found.path,
    }


def test_both_deployments_run_the_same_server(compose: dict[str, Any], pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert compose["image"] == container["image"]
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", container["image"])
    assert compose["entrypoint"] == container["command"]
    assert compose["command"] == container["args"]
    assert {f"--port={GRPC}", f"--rest_api_port={REST}"} <= set(container["args"])
    for name in CONFIGS:
        assert any(flag.endswith(f"=/config/{name}") for flag in container["args"])
        assert f"./{name}:/config/{name}:ro" in compose["volumes"]


def test_the_cluster_has_copies_of_the_configuration(cluster: dict[str, dict[str, Any]]) -> None:
    assert cluster["ConfigMap"]["data"] == {name: (DEPLOY / name).read_text() for name in CONFIGS}


def test_ports_agree(
    compose: dict[str, Any], cluster: dict[str, dict[str, Any]], pod: dict[str, Any]
) -> None:
    assert sorted(compose["ports"]) == [f"127.0.0.1:{port}:{port}" for port in (GRPC, REST)]
    container = {one["name"]: one["containerPort"] for one in pod["containers"][0]["ports"]}
    service = {one["targetPort"]: one["port"] for one in cluster["Service"]["spec"]["ports"]}
    assert container == service == {"grpc": GRPC, "rest": REST}


def test_the_parts_of_the_cluster_find_each_other(
    cluster: dict[str, dict[str, Any]], pod: dict[str, Any]
) -> None:
    labels = cluster["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert cluster["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert cluster["Service"]["spec"]["selector"] == labels
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes.keys() == {one["name"] for one in pod["containers"][0]["volumeMounts"]}
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert claim == cluster["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == cluster["ConfigMap"]["metadata"]["name"]


def test_a_pod_can_do_little_and_is_watched(pod: dict[str, Any], compose: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    guard = container["securityContext"]
    assert guard["readOnlyRootFilesystem"]
    assert not guard["allowPrivilegeEscalation"]
    assert guard["capabilities"]["drop"] == compose["cap_drop"] == ["ALL"]
    assert compose["read_only"]
    for name in ("startupProbe", "readinessProbe"):
        assert container[name]["httpGet"] == {"path": f"/v1/models/{NAME}", "port": "rest"}
    assert container["livenessProbe"]["tcpSocket"]["port"] == "grpc"
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_the_health_check_of_compose_is_a_shell_command(compose: dict[str, Any]) -> None:
    kind, shell, flag, script = compose["healthcheck"]["test"]
    assert (kind, shell, flag) == ("CMD", "bash", "-c")
    assert f"/dev/tcp/127.0.0.1/{REST}" in script
    assert f"GET /v1/models/{NAME} " in script


@pytest.mark.parametrize("page", ["deploy/README.md", "deploy/client.py", "docs/deploy.md"])
def test_pages_name_the_addresses_of_the_deployment(page: str) -> None:
    text = (ROOT / page).read_text()
    urls = re.findall(r"(?:https?://[^\s/]+/v1/models|grpcs?://[^\s/]+)/[a-z]+", text)
    ours = [address for address in map(parse_address, urls) if address.name == NAME]
    assert ours
    for address in ours:
        assert address.host.endswith(f":{REST if address.is_rest else GRPC}") or address.is_private
