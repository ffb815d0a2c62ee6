"""Model archives for TorchServe: a handler, weights, their configuration and the library version they need."""

import logging
import tempfile
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import calvaria
from calvaria.errors import bad_option
from calvaria.files import writing
from calvaria.server.settings import MANIFEST, MODEL_CONFIG
from calvaria.weights import CLOSE_UP, WEIGHTS

log = logging.getLogger(__name__)

VERSION_FILE = "calvaria-version.txt"
"""File in the archive with the library version that it was built with, and the only one it runs beside."""


def build_archives(models: Path, handler: Path, store: Path, shipped: Path | None = None) -> list[Path]:
    """`store`/<name>.mar for every folder `models`/<name> that holds weights and their configuration, or is called as one in `shipped`.

    Others with weights, such as earlier runs, are passed over with a warning. CalvariaError BAD_OPTION if there is none.
    """
    folders = sorted(path.parent for path in models.glob(f"*/{WEIGHTS}"))
    if not folders:
        raise bad_option(
            f"No folder in {models} holds {WEIGHTS}: train a model first, e.g. calvaria train completion --out {models / 'completion'}."
        )
    ready = [folder for folder in folders if _settings(folder, shipped)]
    for folder in folders:
        if folder not in ready:
            log.warning("%s is passed over: it holds no %s.", folder, MODEL_CONFIG)
    if not ready:
        raise bad_option(f"No folder in {models} holds {MODEL_CONFIG} beside its weights: copy that of a model that is like it.")
    return [build_archive(folder, handler, store, shipped) for folder in ready]


def _settings(model: Path, shipped: Path | None) -> Path | None:
    """The configuration of a model: its own, or that of the shipped one of its name."""
    places = [model, *([shipped / model.name] if shipped else ())]
    return next((place / MODEL_CONFIG for place in places if (place / MODEL_CONFIG).is_file()), None)


def build_archive(model: Path, handler: Path, store: Path, shipped: Path | None = None) -> Path:
    """`store`/<name>.mar from the folder of one model, which gives it its name; see `build_archives`.

    It is packed here, from where its files lie: TorchServe's archiver copies them to a folder of the model's name in the temporary one, and
    first deletes whatever lies there.
    """
    settings = _settings(model, shipped)
    if settings is None:
        raise bad_option(f"{model} holds no {MODEL_CONFIG}: copy that of a model that is like it.")
    archive, manifest = store / f"{model.name}.mar", _manifest(model, handler, settings)
    files = [handler, settings, model / WEIGHTS, *(path for path in [model / CLOSE_UP] if path.exists())]
    with writing(archive):
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store, prefix=".") as scratch:  # hidden, so that no server takes it for a model
            draft = Path(scratch, archive.name)
            with ZipFile(draft, "w", ZIP_DEFLATED, strict_timestamps=False) as packed:
                for path in files:
                    packed.write(path, path.name)
                packed.writestr(VERSION_FILE, calvaria.__version__ + "\n")
                packed.writestr(MANIFEST, manifest)
            draft.replace(archive)
    return archive


def _manifest(model: Path, handler: Path, settings: Path) -> str:
    """What TorchServe is told of an archive. CalvariaError BAD_OPTION for a name that no model may have."""
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_archiver_error import ModelArchiverError
    from model_archiver.model_packaging_utils import ModelExportUtils

    try:
        ModelExportUtils.check_model_name_regex_or_exit(model.name)
    except ModelArchiverError as error:
        raise bad_option(f"A model cannot be called {model.name!r}: name its folder with letters, digits, '-', '_' and '.'.") from error
    config = ModelArchiverConfig(
        model_name=model.name,
        version=calvaria.__version__,
        handler=str(handler),
        serialized_file=str(model / WEIGHTS),
        config_file=str(settings),
    )
    return str(ModelExportUtils.generate_manifest_json(config))
