"""`calvaria predict` of a folder: an answer for every volume in it, with an index, going on where it stopped."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calvaria
from calvaria.client.local import LocalClient
from calvaria.commands.progress import finish, shown
from calvaria.datasets.files import VOLUMES, stem_of, suffix_of, tell_unread, walk
from calvaria.datasets.index import DataSet
from calvaria.errors import bad_option
from calvaria.io import VOLUME_FORMATS
from calvaria.predictor import Predictor
from calvaria.serving.options import AnswerOptions, RequestOptions, encode_options
from calvaria.weights import model_folder, weights_sha256


@dataclass(frozen=True)
class Question:
    """A volume, the scan that comes with it, and the files of its answers by output."""

    source: Path
    name: str
    image: Path | None
    answers: dict[str, str]


def answer_folder(
    task: str,
    folder: Path,
    out: Path,
    models: Path | None,
    device: str,
    engine: str,
    images: Path | None = None,
    output: str | None = None,
    format: str | None = None,
    **options: Any,
) -> None:
    """Answer for every volume below a folder; exit status 1 where one could not be, the others are there.

    Answers have the paths of their volumes, below `out` or, of several outputs, below `out`/OUTPUT; `images` holds scans of the same
    paths but for their suffixes, and a mask without one is answered alone, which its row tells. What is there already, of the same weights
    and options, is kept, and what failed is tried again.
    """
    weights = model_folder(task, models)
    predictor = Predictor.load(weights, device=device, engine=engine)
    asked = {name: value for name, value in options.items() if value is not None}
    outputs = RequestOptions.parse(encode_options(output=output, **asked), predictor.task).output  # refused before anything is written
    if images and not predictor.task.imaged:
        raise bad_option(f"{task} takes no scan beside the volume: leave out --image.")
    questions = plan(folder, out, outputs, format, images)
    settings = {"task": task, "weights": weights_sha256(weights), "engine": predictor.engine, "version": calvaria.__version__}
    settings |= {"outputs": outputs, "options": asked, "folder": str(folder.resolve()), "images": str(images.resolve()) if images else ""}
    planned = (answer for each in questions for answer in each.answers.values())
    made = DataSet(out, settings | ({"format": format} if format else {}), planned)
    made.retain((answer, each.name) for each in questions for answer in each.answers.values())
    with LocalClient(predictor) as client:
        shown(_answered(client, task, made, questions, AnswerOptions(**asked)), len(questions), "Answering")  # type: ignore[typeddict-item]
    finish(made)


def plan(folder: Path, out: Path, outputs: tuple[str, ...], format: str | None, images: Path | None) -> list[Question]:
    """What is to be answered. BAD_OPTION where there is nothing, or where answers would lie among the questions."""
    if Path(out).resolve().is_relative_to(Path(folder).resolve()):
        raise bad_option(f"{out} lies within {folder}: its answers would be asked about next. Choose another --out.")
    if images and not images.is_dir():
        raise bad_option(f"{images} is no folder: for a folder of masks, --image names one with scans of the same paths.")
    scans = _scans(images) if images else {}
    if format and format not in VOLUME_FORMATS:
        raise bad_option(f"Answers for a folder cannot be {format!r}. Choose one of: {', '.join(VOLUME_FORMATS)}.")
    tell_unread(folder)
    questions = []
    for path in walk(folder, VOLUMES):
        name = path.relative_to(folder)
        wanted = _answer_to(name, format)
        answers = {each: str(Path(each) / wanted if len(outputs) > 1 else wanted) for each in outputs}
        questions.append(Question(path, str(name), scans.get(_stem(name)), answers))
    if not questions:
        raise bad_option(f"{folder} holds no volume: no file ends in {', '.join(VOLUMES)}.")
    if images and not any(each.image for each in questions):
        raise bad_option(f"No scan in {images} has the path of a mask in {folder}, such as {questions[0].name}, whatever its suffix.")
    _check_answers(questions, out)
    return questions


def _scans(images: Path) -> dict[Path, Path]:
    """Scans by their paths below a folder, without suffixes. BAD_OPTION where two differ in nothing else."""
    found: dict[Path, Path] = {}
    for path in walk(images, VOLUMES):
        if (other := found.setdefault(_stem(path.relative_to(images)), path)) is not path:
            raise bad_option(f"{other} and {path} would both be the scan of one mask; leave one of them in the folder.")
    return found


def _stem(name: Path) -> Path:
    return name.with_name(stem_of(name, VOLUMES))


def _check_answers(questions: list[Question], out: Path) -> None:
    """BAD_OPTION where an answer would overwrite what is asked about, or another answer."""
    asked_about = {path.resolve() for each in questions for path in (each.source, each.image) if path}
    taken: dict[str, str] = {}
    for each in questions:
        for answer in each.answers.values():
            if (out / answer).resolve() in asked_about:
                raise bad_option(f"{out / answer} is asked about, and its answer would overwrite it. Choose another --out.")
            if taken.setdefault(answer, each.name) != each.name:
                raise bad_option(f"{taken[answer]} and {each.name} would both be answered in {answer}; rename one.")


def _answer_to(name: Path, format: str | None) -> Path:
    """The path of an answer: its volume's, in another format if one is wanted; .nrrd.gz is read and not written."""
    if not format and suffix_of(name, VOLUMES) != ".nrrd.gz":
        return name
    return name.with_name(f"{_stem(name).name}.{format or 'nrrd'}")


def _answered(client: LocalClient, task: str, made: DataSet, questions: list[Question], options: AnswerOptions) -> Iterator[Question]:
    scanned = any(question.image for question in questions)
    for question in questions:
        files = [question.source, *([question.image] if question.image else [])]
        names = question.answers.values()
        if not all(made.has(name, question.name, files) for name in names):
            with made.noting(question.name, *names):
                found = client.predict_several(task, question.source, list(question.answers), image=question.image, **options)
                alone = ["There was no scan beside it."] if scanned and not question.image else []
                minded = " ".join([*alone, *(notice.message for notice in found.report.warnings)])
                for output, name in question.answers.items():
                    made.add(found.volumes[output], name, question.name, output, minded, files)
        yield question
