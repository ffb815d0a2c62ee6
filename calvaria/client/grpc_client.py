"""The client for gRPC."""

from collections.abc import Mapping
from pathlib import Path

import grpc

from calvaria.client import refusals
from calvaria.client.codec import Answer, Caller, accept
from calvaria.client.inference_pb2 import PredictionResponse, PredictionsRequest
from calvaria.client.tokens import KEY_FILE, read_token
from calvaria.serving.wire import VOLUME_PART

METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
NO_LIMIT = -1


class GrpcClient(Caller):
    """Calls a server over gRPC; see Client for the key file and the timeout.

    target  host:port of the server's gRPC inference
    """

    def __init__(self, target: str = "127.0.0.1:7070", *, key_file: Path | str = KEY_FILE, timeout_s: float = 600.0):
        self.target = target
        self.key_file = Path(key_file)
        self.timeout_s = timeout_s
        # gRPC would refuse to receive more than 4 MB.
        options = [("grpc.max_receive_message_length", NO_LIMIT), ("grpc.max_send_message_length", NO_LIMIT), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(target, options)
        self._predictions = self._channel.unary_unary(METHOD, PredictionsRequest.SerializeToString, PredictionResponse.FromString)

    def send(self, model: str, body: bytes, options: Mapping[str, str]) -> Answer:
        parts = {VOLUME_PART: body} | {name: text.encode() for name, text in options.items()}
        token = read_token(self.key_file)
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            response = self._predictions(PredictionsRequest(model_name=model, input=parts), timeout=self.timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise self._translated(error) from error
        return accept(Answer(response.prediction))

    def _translated(self, error: grpc.RpcError) -> Exception:
        status, details = error.code(), error.details() or ""
        if status is grpc.StatusCode.UNAVAILABLE and "connect" in details:
            return refusals.unreachable(self.target, details)
        return refusals.from_grpc(status, details)

    def close(self) -> None:
        self._channel.close()
