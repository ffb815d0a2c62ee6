"""The client for gRPC."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path

import grpc

from calvaria.client import refusals
from calvaria.client.codec import Answer, Caller, accept
from calvaria.client.inference_pb2 import PredictionResponse, PredictionsRequest
from calvaria.client.retry import Retry, Transfer, Watch
from calvaria.client.trust import named, pem
from calvaria.errors import bad_option
from calvaria.serving.wire import IMAGE_PART, VOLUME_PART

METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
NO_LIMIT = -1
OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", NO_LIMIT),
    ("grpc.max_send_message_length", NO_LIMIT),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
"""Options of a channel: gRPC would refuse to receive more than 4 MB, and look for a server that was away only every two minutes."""

UNREACHED = "connect", "resol"
"""What gRPC says of a server that is not there, or whose name nobody knows ("resolving", "DNS resolution")."""


BROKEN_OFF = "Socket closed", "Stream removed", "onnection reset", "Broken pipe", "GOAWAY", "End of TCP stream"
"""What gRPC says where a connection ended amid a call, which the server may have taken."""


class GrpcClient(Caller):
    """Calls a server over gRPC.

    target  host:port of the server's gRPC inference
    tls     whether it speaks TLS; a `ca_file` says so, too
    name    that its certificate has, where the target says another

    The other arguments: see Caller. A message goes and comes in one piece here, so progress is told before and after.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        key_file: Path | str | None = None,
        token: str | None = None,
        tls: bool = False,
        ca_file: Path | str | None = None,
        name: str | None = None,
        timeout_s: float = 600.0,
        retry: Retry = Retry(),
    ):
        super().__init__(key_file, token, timeout_s, retry)
        if target.lower().startswith(("http://", "https://")):
            raise bad_option(f"gRPC wants host:port, such as 127.0.0.1:7070, not {target}. TLS is asked for with tls=True.")
        self.target = target
        trust = grpc.ssl_channel_credentials(pem(ca_file))
        options = OPTIONS + named(name)
        self._channel = grpc.secure_channel(target, trust, options) if tls or ca_file else grpc.insecure_channel(target, options)
        self._predictions = self._channel.unary_unary(METHOD, PredictionsRequest.SerializeToString, PredictionResponse.FromString)

    def _send(
        self, token: str | None, model: str, body: bytes, options: Mapping[str, str], progress: Watch | None, image: bytes | None
    ) -> Answer:
        parts = {VOLUME_PART: body} | {name: text.encode() for name, text in options.items()}
        parts |= {} if image is None else {IMAGE_PART: image}
        metadata = [("authorization", f"Bearer {token}")] if token else []
        timeout_s = self.timeout_s if isfinite(self.timeout_s) else None
        if progress:
            progress(Transfer("sending", 0, len(body)))
        try:
            response = self._predictions(PredictionsRequest(model_name=model, input=parts), timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise self._translated(error) from error
        if progress:
            progress(Transfer("sending", len(body), len(body)))
            progress(Transfer("receiving", len(response.prediction), len(response.prediction)))
        return accept(Answer(response.prediction))

    def _translated(self, error: grpc.RpcError) -> Exception:
        status, details = error.code(), error.details() or ""
        if status is grpc.StatusCode.UNAVAILABLE and any(word in details for word in UNREACHED):
            return refusals.unreachable(self.target, details)
        if status is grpc.StatusCode.UNAVAILABLE and any(word in details for word in BROKEN_OFF):
            return refusals.broken_off(self.target, details)
        return refusals.from_grpc(status, details)

    def close(self) -> None:
        self._channel.close()
