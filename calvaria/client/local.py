"""A client without a server: the same service, in this process."""

from collections.abc import Mapping

from calvaria.client.codec import Answer, Caller, accept
from calvaria.client.retry import NEVER, Watch
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.predictor import Predictor
from calvaria.serving.service import Limits, Model, Request, Service


class LocalClient(Caller):
    """Answers with a predictor what a server with its weights would answer, however large the answer is."""

    def __init__(self, predictor: Predictor, model: Model | None = None):
        super().__init__(None, None, float("inf"), NEVER)
        self._service = Service(predictor, Limits(max_answer_mib=float("inf")), model)

    def read_token(self) -> None:
        """Nobody asks for one."""

    def _send(
        self, token: str | None, model: str, body: bytes, options: Mapping[str, str], progress: Watch | None, image: bytes | None
    ) -> Answer:
        if model != self._service.predictor.task.name:
            raise CalvariaError(ErrorCode.UNKNOWN_MODEL, f"These weights are for {self._service.predictor.task.name}, not for {model}.")
        (response,) = self._service.handle([Request(body, options, image)])
        try:
            return accept(Answer(response.body, response.seconds, " ".join(notice.message for notice in response.warnings)))
        except CalvariaError as refusal:
            if response.failure:  # there is no server whose log would say more
                message = f"This volume met an error that was not foreseen: {response.failure}."
                raise CalvariaError(refusal.code, message) from refusal
            raise

    def close(self) -> None:
        """There is nothing to let go of."""
