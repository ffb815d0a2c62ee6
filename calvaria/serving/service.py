"""A batch of requests on its way: decode, prepare, one network call, finish, encode. A failure stays with its own request."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock
from time import perf_counter
from typing import Any

import torch
from numpy.typing import NDArray

from calvaria.companion import scan_beside
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import DEFAULT_MAX_VOXELS, Decoded, Promise, as_mask, open_image
from calvaria.predictor import Predictor
from calvaria.serving.answers import Model, check_size, close
from calvaria.serving.findings import about_answer, about_questions, assumptions, merged
from calvaria.serving.heap import give_back, give_back_of_device, resident_bytes
from calvaria.serving.journey import Journey
from calvaria.serving.logline import whereabouts
from calvaria.serving.messages import Request, Response
from calvaria.serving.options import RequestOptions
from calvaria.serving.room import Room
from calvaria.serving.wire import IMAGE_PART, VOLUME_PART

__all__ = ["STAGES", "Limits", "Model", "Request", "Response", "Service"]

SMALL_BYTES, SMALL_VOXELS = 2**16, 2**21
"""Sizes of files, and of answers, below which they are read and finished one after the other. Eight volumes of 32³ take 10 and 5 ms so, by
two threads, which wait for each other, 20 and 10; four heads of 128³ 29 and 66, by two 38 and as long (two cores).
"""

log = logging.getLogger(__name__)

STAGES = ("decode", "prepare", "network", "finish", "encode")

PREPARING_BYTES = 14
"""Bytes per voxel or cell of the largest grid laid over a volume, at the worst: super-resolution's distances, inside and out."""

FINISHING_BYTES = 8
"""Bytes per voxel, at the worst, while an answer is finished: its masks, and distances within the box of an implant."""

KEPT_BYTES = 2**25
"""What the process may hold beyond its size before its first request; then what was freed goes back to the system, in about 10 ms."""

DEVICE_KEPT_BYTES = 2**31
"""What PyTorch may keep of a GPU's memory between batches: as much as a call of several grids may take (`inference.BUDGET_BYTES`)."""


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and a batch.

    max_voxels       voxels of a volume, occupied or not; checked before memory is taken for them
    max_answer_mib   size of an answer's body; TorchServe kills a worker that sends more than its own limit
    max_working_mib  what the threads of a batch hold at once while they decode, prepare and finish volumes, and, once more, what its
                     volumes hold while they wait for the network together; one alone may take more
    max_pairs_mib2   sum of the products of the sizes of any two answers in a batch, in MiB²: TorchServe reads each answer's beginning
                     again while the next ones arrive, 4.4 ms for each MiB² (4 answers of 32 MiB: 6144 MiB² and 27 s)
    """

    max_voxels: int = DEFAULT_MAX_VOXELS
    max_answer_mib: float = 60.0
    max_working_mib: float = 2048.0
    max_pairs_mib2: float = 100.0


class Service:
    """Answers requests with a predictor. One caller at a time; several threads decode and encode what is not small in a batch."""

    def __init__(self, predictor: Predictor, limits: Limits | None = None, model: Model | None = None, threads: int | None = None):
        """`threads`: as many as PyTorch computes with, by default."""
        self.predictor = predictor
        self.limits = limits or Limits()
        self.model = model or Model()
        self._room = Room(self.limits.max_working_mib * 2**20)
        self._pool = ThreadPoolExecutor(threads or torch.get_num_threads(), "calvaria")
        self._counting, self._waiting_bytes = Lock(), 0
        self._level_bytes = resident_bytes()

    def handle(self, requests: Sequence[Request]) -> list[Response]:
        """Exactly one response per request, in order. Never raises for what a request holds."""
        journeys = [Journey(request) for request in requests]
        stage, left = self._open, journeys
        while left:
            self._waiting_bytes = 0
            self._each(left, stage, small=lambda journey: journey.request.size < SMALL_BYTES)
            part = [journey for journey in left if not journey.postponed]
            if sound := [journey for journey in part if journey.error is None]:
                self._infer(sound)
            self._each(part, self._close, small=lambda journey: journey.error is not None or _answer_voxels(journey) <= SMALL_VOXELS)
            stage, left = self._prepare, [journey for journey in left if journey.postponed]
        self._bound_batch(journeys)
        if resident_bytes() > self._level_bytes + KEPT_BYTES:
            give_back()
        give_back_of_device(self.predictor.device, DEVICE_KEPT_BYTES)
        return [journey.response() for journey in journeys]

    def _each(self, journeys: Sequence[Journey], stage: Callable[[Journey], None], small: Callable[[Journey], bool]) -> None:
        """A stage for every journey; a lone one, or small ones, do not pay for threads."""
        if len(journeys) == 1 or all(map(small, journeys)):
            for journey in journeys:
                journey.attempt(stage)
            return
        for done in [self._pool.submit(journey.attempt, stage) for journey in journeys]:
            done.result()

    def _open(self, journey: Journey) -> None:
        request = journey.request
        if not len(request.body):
            message = (
                "There is no volume: the file is empty, or none was sent. A server takes it as the raw body (curl -T file; --data-binary "
                "is read as a form), as the part `volume` of a form, or as the entry `volume` of a gRPC input."
            )
            raise CalvariaError(ErrorCode.EMPTY_BODY, message)
        task = self.predictor.task
        journey.options = RequestOptions.parse(request.options, task)
        with journey.timed("decode"):
            promise = open_image(request.body, max_voxels=self.limits.max_voxels)
        with self._room.holding(promise.sample_bytes), journey.timed("decode"):
            journey.decoded = self._mask(journey, promise)
        journey.occupied = journey.decoded.volume.occupied
        journey.warn(*assumptions(journey.decoded.warnings), *merged(journey.decoded.merged))
        self._prepare(journey)

    def _prepare(self, journey: Journey) -> None:
        """Prepare a volume, unless too much waits for the network already: then its turn comes when that has been answered.

        The scan beside a mask is read here, and kept no longer: it takes more memory than what is made of it.
        """
        task, volume, extras = self.predictor.task, journey.decoded.volume, journey.options.extras
        scan = self._scan(journey) if journey.request.image is not None else None
        scan_bytes = scan.sample_bytes if scan else 0
        with self._room.holding(PREPARING_BYTES * task.spans(volume, extras) + scan_bytes):
            journey.postponed = self._waiting_bytes > self.limits.max_working_mib * 2**20
            if journey.postponed:
                return
            image = self._image(journey, scan) if scan else None
            with journey.timed("prepare"):
                journey.asked = self.predictor.ask(volume, replace(extras, image=image))
            del image
            with self._counting:
                self._waiting_bytes += journey.waiting_bytes
            journey.warn(*about_questions(task, journey.asked))

    def _mask(self, journey: Journey, promise: Promise) -> Decoded:
        """The mask sent. CalvariaError as its file is, or where it holds none."""
        keep_labels = self.predictor.task.label_margin_mm is not None
        try:
            return as_mask(promise.read(), journey.options.label, keep_labels=keep_labels)
        except CalvariaError as error:
            swapped = error.code is ErrorCode.NOT_BINARY and journey.request.image is not None
            hint = f" Or are `{VOLUME_PART}` and `{IMAGE_PART}` swapped?" if swapped else ""
            raise CalvariaError(error.code, error.message + hint) from error

    def _scan(self, journey: Journey) -> Promise:
        """The scan that comes with a mask, not yet read. CalvariaError as its file is, or where the task takes none."""
        task = self.predictor.task
        if not task.imaged:
            raise CalvariaError(ErrorCode.UNKNOWN_OPTION, f"{task.name} takes no {IMAGE_PART} beside the volume. Leave it out.")
        with _about_the_scan(), journey.timed("decode"):
            if not journey.request.image:
                raise CalvariaError(ErrorCode.EMPTY_BODY, "it is empty. Send the scan's file, or leave the part out.")
            return open_image(journey.request.image, max_voxels=self.limits.max_voxels)

    def _image(self, journey: Journey, scan: Promise) -> NDArray[Any]:
        """The scan's samples. CalvariaError BAD_GEOMETRY on another grid than the mask, NOT_HOUNSFIELD, or as its file is."""
        with _about_the_scan(), journey.timed("decode"):
            return scan_beside(scan.read(), journey.decoded.volume)

    def _infer(self, journeys: Sequence[Journey]) -> None:
        """The network's answers for a batch; should it fail, for each half of it: a failure meets whom it belongs to.

        A call that takes too much memory of the device is halved further in (`Inference`); what ends here does not fit alone.
        """
        if len(journeys) == 1:
            return journeys[0].attempt(lambda journey: self._infer_together([journey]))
        try:
            return self._infer_together(journeys)
        except Exception as error:
            log.error("the network failed for a batch of %d; now in halves: %s", len(journeys), whereabouts(error))
            log.debug("it failed", exc_info=error)
        half = len(journeys) // 2
        self._infer(journeys[:half])
        self._infer(journeys[half:])

    def _infer_together(self, journeys: Sequence[Journey]) -> None:
        start = perf_counter()
        questions = [asked.prepared for journey in journeys for asked in journey.asked]
        answers = iter(self.predictor.infer(questions, self._pool.map))
        seconds = perf_counter() - start
        for journey in journeys:
            journey.inferred = list(islice(answers, len(journey.asked)))
            journey.seconds["network"] = seconds
            journey.network_share_s = seconds / len(journeys)

    def _close(self, journey: Journey) -> None:
        given = journey.decoded.volume
        with self._room.holding(FINISHING_BYTES * _answer_voxels(journey)):
            with journey.timed("finish"):
                settings = journey.options.settings(self.predictor.settings)
                volumes = self.predictor.answer(given, journey.asked, journey.inferred, settings)
                journey.warn(*about_answer(self.predictor.task, given, volumes, journey.options.output, settings))
            close(journey, volumes, self.predictor, self.model)
        check_size(journey.body, self.limits.max_answer_mib)
        journey.forget()

    def _bound_batch(self, journeys: Sequence[Journey]) -> None:
        """Refuse, for now, the largest answers of a batch that TorchServe would take long to read; alone they are no trouble."""
        kept_mib = pairs = 0.0
        for journey in sorted((each for each in journeys if each.error is None), key=lambda each: len(each.body)):
            mib = len(journey.body) / 2**20
            if pairs + kept_mib * mib > self.limits.max_pairs_mib2:
                journey.refuse(_crowded(mib))
            else:
                kept_mib, pairs = kept_mib + mib, pairs + kept_mib * mib


def _answer_voxels(journey: Journey) -> int:
    """Voxels of the answers to all questions, or of the map of labels that they are put together in, whichever are more."""
    return max(sum(each.prepared.answer.mask.size for each in journey.asked), journey.decoded.volume.mask.size)


@contextmanager
def _about_the_scan() -> Iterator[None]:
    """Say of what is refused that it is the scan."""
    try:
        yield
    except CalvariaError as error:
        raise CalvariaError(error.code, f"The part `{IMAGE_PART}`, the scan beside the mask, is refused: {error.message}") from error


def _crowded(mib: float) -> CalvariaError:
    return CalvariaError(
        ErrorCode.UNAVAILABLE,
        f"The answer, {mib:.0f} MiB, is too large to return in one batch with other answers. Send the request again in a moment, or ask "
        "for a compressed format: nrrd or nii.gz.",
    )
