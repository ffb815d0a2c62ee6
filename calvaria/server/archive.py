"""Model archives for TorchServe: a handler, weights, their configuration and the library version they need."""

import tempfile
from pathlib import Path

import calvaria
from calvaria.errors import bad_option
from calvaria.server.settings import MODEL_CONFIG
from calvaria.weights import CLOSE_UP, WEIGHTS

VERSION_FILE = "calvaria-version.txt"
"""File in the archive with the library version that it was built with, and the only one it runs beside."""


def build_archives(models: Path, handler: Path, store: Path, shipped: Path | None = None) -> list[Path]:
    """`store`/<name>.mar for every folder `models`/<name> that holds weights.

    CalvariaError BAD_OPTION if there is none, or one lacks its configuration.

    A folder without one gets that of the same name's in `shipped`.
    """
    folders = sorted(path.parent for path in models.glob(f"*/{WEIGHTS}"))
    if not folders:
        raise bad_option(f"No folder in {models} holds {WEIGHTS}: train a model first, e.g. calvaria train completion.")
    return [build_archive(folder, handler, store, shipped) for folder in folders]


def build_archive(model: Path, handler: Path, store: Path, shipped: Path | None = None) -> Path:
    """`store`/<name>.mar from the folder of one model, which gives it its name; see `build_archives`."""
    from model_archiver import ModelArchiver, ModelArchiverConfig

    places = [model, *([shipped / model.name] if shipped else ())]
    settings = next((place / MODEL_CONFIG for place in places if (place / MODEL_CONFIG).is_file()), None)
    if settings is None:
        raise bad_option(f"{model} holds no {MODEL_CONFIG}: copy that of a model that is like it.")
    store.mkdir(parents=True, exist_ok=True)
    archive = store / f"{model.name}.mar"
    with tempfile.TemporaryDirectory(dir=store, prefix=".") as scratch:  # hidden, so that no server takes it for a model
        version = Path(scratch) / VERSION_FILE
        version.write_text(calvaria.__version__ + "\n")
        extra = [version, *(path for path in [model / CLOSE_UP] if path.exists())]
        config = ModelArchiverConfig(
            model_name=model.name,
            version=calvaria.__version__,
            handler=str(handler),
            serialized_file=str(model / WEIGHTS),
            extra_files=",".join(map(str, extra)),
            config_file=str(settings),
            export_path=scratch,
            force=True,
        )
        ModelArchiver.generate_model_archive(config)
        Path(scratch, archive.name).replace(archive)
    return archive
