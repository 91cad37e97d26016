"""Loading of model files, in this process or in a subprocess."""

from __future__ import annotations

import logging
from pathlib import Path

from pleura.engine.process_state import PROCESS
from pleura.engine.runtimes import LoadedModel, Precision, Runtime, load_model
from pleura.engine.subprocess_model import SubprocessModel

_logger = logging.getLogger(__name__)


def load(path: Path | bytes, threads: int, precision: Precision, runtime: Runtime) -> LoadedModel:
    """Load a model file, or its content, in this process; in a subprocess after a fork.

    Raises
    ------
    ModelError
        The runtime is not installed, or cannot load the file.
    """
    loader = SubprocessModel if PROCESS.forked else load_model
    model: LoadedModel = loader(path, threads, precision, runtime)
    PROCESS.register(model)
    name = path.name if isinstance(path, Path) else "the model of the lungs"
    _logger.info("Loaded %s with %s (%s, %d threads)", name, runtime, model.device()[0], threads)
    return model
