"""Whom clients trust."""

from calvaria.client.trust import pem


def test_grpc_trusts_whom_this_machine_trusts_or_a_file_that_is_named(monkeypatch, tmp_path):
    authority = tmp_path / "authority.pem"
    authority.write_bytes(b"-----BEGIN CERTIFICATE-----")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert pem(None) == authority.read_bytes()
    monkeypatch.chdir(tmp_path)
    authority.rename("ca-certificates.crt")  # of the folder that one happens to be in nothing is trusted
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "absent"))
    assert pem(None) is None
