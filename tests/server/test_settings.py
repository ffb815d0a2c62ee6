import re
import socket
import zipfile
from pathlib import Path

import pytest
import yaml

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.server.settings import CONFIG, MODEL_CONFIG, ServerSettings, why_closed
from calvaria.serving.service import Limits

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings() -> ServerSettings:
    return ServerSettings.read(ROOT / CONFIG)


def test_written_settings_read_the_same(settings, tmp_path):
    settings.write(tmp_path / CONFIG)
    assert ServerSettings.read(tmp_path / CONFIG).values == settings.values
    assert settings.values["vmargs"].startswith("-Xmx"), "only the first = separates"


def test_letters_of_every_kind_are_written_as_java_reads_them(tmp_path):
    values = {"model_store": "Schädel/€/😀", "vmargs": "-Xmx2g -Da=b\\c"}
    ServerSettings(tmp_path, values).write(tmp_path / CONFIG)
    assert (tmp_path / CONFIG).read_bytes() == b"model_store=Sch\\u00e4del/\\u20ac/\\ud83d\\ude00\nvmargs=-Xmx2g -Da=b\\\\c\n"
    assert ServerSettings.read(tmp_path / CONFIG).values == values


def test_letters_that_java_would_take_for_others_are_refused(tmp_path):
    (tmp_path / CONFIG).write_text("# für alle\ncertificate_file=Schädel.pem\n", encoding="utf-8")
    with pytest.raises(CalvariaError, match=r"certificate_file in .* write Sch\\u00e4del\.pem\.") as refused:
        ServerSettings.read(tmp_path / CONFIG)
    assert refused.value.code is ErrorCode.BAD_OPTION


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("inference_address=banana", "an address such as http://127.0.0.1:8080"),
        ("metrics_address=http://127.0.0.1:80 82", "an address such as http://127.0.0.1:8082"),
        ("default_workers_per_model=abc", "a whole number above zero, and nothing behind it"),
        ("token_expiration_min=43200  # 30 days", "a number of minutes, and nothing behind it"),
        ("disable_token_authorization=true # for tests", "true or false, and nothing behind it"),
        ("enable_grpc_ssl=yes", "true or false, and nothing behind it"),
        ("metrics_mode=foo", "one of prometheus, log, legacy"),
        ("grpc_inference_port=-1", "a port from 1 to 65535"),
        ("grpc_management_port=70000", "a port from 1 to 65535"),
        ("inference_address=http://127.0.0.1:99999", "an address such as http://127.0.0.1:8080"),
        ("inference_address=http://[::1]:8080", "an address such as http://127.0.0.1:8080"),
        ("metrics_config=nope.yaml", "a file that exists, and that this account may read"),
    ],
)
def test_what_the_server_would_stumble_over_is_refused_by_name(line, wanted, tmp_path):
    path = tmp_path / "config.properties"
    path.write_text(f"model_store=store\n{line}\n")
    with pytest.raises(CalvariaError) as refused:
        ServerSettings.read(path).check(path.name)
    assert refused.value.code is ErrorCode.BAD_OPTION
    name, value = line.split("=", 1)
    assert refused.value.message == f"{name} in config.properties is {value!r}. It must be {wanted}."


def test_settings_of_logs_that_are_not_there_are_refused(tmp_path):
    path = tmp_path / "config.properties"
    path.write_text("model_store=store\nvmargs=-Xmx1g -Dlog4j.configurationFile=log4j2.xml\n")
    with pytest.raises(CalvariaError, match=r"without log4j2\.xml, or with that file in .*: TorchServe would log otherwise"):
        ServerSettings.read(path).check(path.name)
    (tmp_path / "log4j2.xml").touch()
    ServerSettings.read(path).check(path.name)


def test_grpc_needs_ports_of_its_own(tmp_path):
    path = tmp_path / "config.properties"
    path.write_text("model_store=store\ninference_address=http://127.0.0.1:18080\ngrpc_inference_port=18080\n")
    with pytest.raises(CalvariaError, match=r"gives gRPC a port of another service, of 18080, 8081, 8082, 18080, 7071"):
        ServerSettings.read(path).check(path.name)


def test_a_key_that_the_servers_account_may_not_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "config.properties"
    path.write_text("model_store=store\nprivate_key_file=server.key\n")
    (tmp_path / "server.key").write_text("key")
    ServerSettings.read(path).check(path.name)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(CalvariaError, match=r"private_key_file in config\.properties is 'server\.key'\. .* that this account may read"):
        ServerSettings.read(path).check(path.name)


@pytest.mark.parametrize(
    ("address", "ports"),
    [
        ("https://10.0.0.1:8443", (8443, 8443, 8443)),
        ("HTTP://server.example", (80, 8081, 8082)),
        ("http://localhost", (80, 8081, 8082)),
        ("https://localhost", (443, 8444, 8445)),
    ],
)
def test_addresses_of_every_kind_are_taken_and_called_at_the_ports_that_torchserve_takes_them_for(address, ports, tmp_path):
    path = tmp_path / "config.properties"
    path.write_text("".join(f"{name}_address={address}\n" for name in ("inference", "management", "metrics")))
    settings = ServerSettings.read(path)
    settings.check(path.name)
    for name, port in zip(("inference", "management", "metrics"), ports, strict=True):
        assert settings.url(name) == f"{address.removesuffix(f':{port}')}:{port}"
    assert settings.ports == [*ports, 7070, 7071]


def test_a_server_that_listens_everywhere_is_called_on_loopback(tmp_path):
    path = tmp_path / "config.properties"
    path.write_text("inference_address=https://0.0.0.0:8443\ngrpc_inference_address=0.0.0.0\n")
    settings = ServerSettings.read(path)
    assert settings.url("inference") == "https://127.0.0.1:8443"
    assert settings.grpc_target == "127.0.0.1:7070"


def test_why_a_port_is_closed_is_told(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "another program" in why_closed(taken.getsockname()[1])

    class Forbidden(socket.socket):
        def bind(self, address):
            raise PermissionError

    monkeypatch.setattr(socket, "socket", Forbidden)
    assert "administrators" in why_closed(443)


def test_elsewhere_everything_is_found_and_no_port_is_shared(settings, tmp_path):
    one = settings.elsewhere()
    assert len(set(one.ports + settings.ports)) == 10
    assert not any(map(why_closed, one.ports))
    assert Path(one.values["metrics_config"]).is_file()
    assert f"-Dlog4j.configurationFile={(ROOT / 'log4j2.xml').as_uri()}" in one.values["vmargs"]
    assert one.elsewhere().values["vmargs"] == one.values["vmargs"]
    assert one.model_store.is_absolute()
    assert one.url("inference") == f"http://127.0.0.1:{one.ports[0]}"
    assert one.grpc_target == f"127.0.0.1:{one.ports[3]}"


def test_models_are_those_in_the_store_or_those_listed(settings, tmp_path):
    (tmp_path / "b.mar").touch()
    (tmp_path / "a.mar").touch()
    assert ServerSettings(tmp_path, {"model_store": "."}).models == ["a", "b"]
    assert ServerSettings(tmp_path, {"load_models": "a.mar,other=b.mar", "model_store": "."}).models == ["a", "other"]


def test_a_server_with_tls_keeps_it_elsewhere(settings, tmp_path):
    values = settings.values | {"inference_address": "https://127.0.0.1:1", "certificate_file": "own.pem", "private_key_file": "own.key"}
    moved = ServerSettings(tmp_path, values).elsewhere()
    assert moved.url("inference").startswith("https://127.0.0.1:")
    assert moved.url("management").startswith("http://127.0.0.1:")
    assert (moved.certificate, moved.grpc_certificate) == (tmp_path / "own.pem", None)
    assert moved.values["private_key_file"] == str(tmp_path / "own.key")
    assert ServerSettings(tmp_path, values | {"enable_grpc_ssl": "true"}).grpc_certificate == tmp_path / "own.pem"


@pytest.mark.parametrize(("text", "on"), [("true", True), ("True", True), ("TRUE", True), ("false", False), ("yes", False), ("", False)])
def test_what_is_on_is_what_java_takes_for_true(text, on, tmp_path):
    (tmp_path / "config.properties").write_text(f"disable_token_authorization={text}\nenable_grpc_ssl={text}\ncertificate_file=own.pem\n")
    settings = ServerSettings.read(tmp_path / "config.properties")
    assert settings.tokens is not on
    assert settings.grpc_certificate == (tmp_path / "own.pem" if on else None)


def test_workers_are_those_of_the_archive_or_the_settings(tmp_path):
    for name, config in [("plain", "batchSize: 4"), ("own", "minWorkers: 3")]:
        with zipfile.ZipFile(tmp_path / f"{name}.mar", "w") as archive:
            archive.writestr(MODEL_CONFIG, config)
    with zipfile.ZipFile(tmp_path / "bare.mar", "w"):
        pass
    settings = ServerSettings(tmp_path, {"model_store": ".", "default_workers_per_model": "2"})
    assert settings.workers == {"bare": 2, "own": 3, "plain": 2}
    (tmp_path / "own.mar").write_bytes((tmp_path / "own.mar").read_bytes()[:-9])
    with pytest.raises(CalvariaError, match="make archive") as refused:
        _ = settings.workers
    assert refused.value.code is ErrorCode.BAD_OPTION


@pytest.mark.parametrize("config", ["batchSize:\t4", "limits: {max_voxels: 9", "minWorkers: two", "- minWorkers: 2"])
def test_a_configuration_of_a_model_that_cannot_be_read_is_named(config, tmp_path):
    with zipfile.ZipFile(tmp_path / "completion.mar", "w") as archive:
        archive.writestr(MODEL_CONFIG, config)
    with pytest.raises(CalvariaError, match=r"model-config\.yaml in .*completion\.mar cannot be read .*make archive") as refused:
        _ = ServerSettings(tmp_path, {"model_store": "."}).workers
    assert refused.value.code is ErrorCode.BAD_OPTION


def test_an_archive_that_was_renamed_or_copied_is_told(tmp_path):
    def pack(name):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "completion"}}')

    settings = ServerSettings(tmp_path, {"model_store": "."})
    pack("completion.mar")
    settings.check_archives()
    pack("old.mar")
    with pytest.raises(CalvariaError, match=r"completion\.mar and .*old\.mar both hold the model completion: move") as refused:
        settings.check_archives()
    assert refused.value.code is ErrorCode.BAD_OPTION
    (tmp_path / "completion.mar").unlink()
    with pytest.raises(CalvariaError, match=r"old\.mar holds the model completion: call it completion\.mar"):
        settings.check_archives()


@pytest.mark.parametrize("manifest", ["{}", "{", '{"model": 5}'])
def test_an_archive_whose_manifest_cannot_be_read_is_named(manifest, tmp_path):
    with zipfile.ZipFile(tmp_path / "completion.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", manifest)
    with pytest.raises(CalvariaError, match=r"MANIFEST\.json in .*completion\.mar cannot be read .*make archive") as refused:
        ServerSettings(tmp_path, {"model_store": "."}).check_archives()
    assert refused.value.code is ErrorCode.BAD_OPTION


def test_the_shipped_configuration_is_closed(settings):
    values = settings.values
    for name in ("inference", "management", "metrics"):
        assert settings.url(name).startswith("http://127.0.0.1:")
    assert values["grpc_inference_address"] == values["grpc_management_address"] == "127.0.0.1"
    assert values["disable_token_authorization"] == values["enable_model_api"] == "false"
    assert int(values["token_expiration_min"]) > 60
    assert "*" not in values["allowed_urls"].removesuffix("/.*")


def test_no_answer_can_be_so_large_that_its_worker_is_killed(settings):
    for path in ROOT.glob("models/*/model-config.yaml"):
        limits = Limits(**yaml.safe_load(path.read_text())["limits"])
        assert limits.max_answer_mib * 2**20 < int(settings.values["max_response_size"])


def test_a_worker_that_cannot_start_is_tried_again_for_weeks():
    """TorchServe counts these seconds in milliseconds, as an integer of 32 bits, and gives a worker up for good after them."""
    for path in ROOT.glob("models/*/model-config.yaml"):
        assert 14 * 24 * 3600 < yaml.safe_load(path.read_text())["maxRetryTimeoutInSec"] < 2**31 / 1000


def test_full_queues_and_batches_of_the_largest_bodies_fit_in_the_heap(settings):
    """A batch is in the heap three times while it is written to its worker: as requests, and as a message that is copied as it grows."""
    heap = int(re.search(r"-Xmx(\d+)g", settings.values["vmargs"])[1]) * 2**30
    models = [yaml.safe_load(path.read_text()) for path in ROOT.glob("models/*/model-config.yaml")]
    held = sum(model["jobQueueSize"] + 3 * model["batchSize"] for model in models)
    assert held * int(settings.values["max_request_size"]) < heap


def test_settings_without_a_model_store_say_what_to_add(tmp_path):
    (tmp_path / "config.properties").write_text("load_models=all\n")
    with pytest.raises(CalvariaError, match="name no model_store: add the folder"):
        _ = ServerSettings.read(tmp_path / "config.properties").models
