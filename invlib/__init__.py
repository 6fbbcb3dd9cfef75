"""invlib: the support package of the workbook "Invertible sentence embeddings".

The folders in the order of the flow: data, encoders, measures, models, training, evaluation, inversion, probes,
language_models, views, series, cli. A folder imports only from those before it. The four names below load when they are
first used.
"""

import gc
import importlib
from typing import Any

__version__ = "0.1.0"

FACE = {
    "InvertibleSentenceModel": "invlib.models.model",
    "load_preset": "invlib.settings",
    "train": "invlib.training.train",
    "evaluate": "invlib.evaluation.evaluate",
}


def __getattr__(name: str) -> Any:
    if name in FACE:
        collecting = gc.isenabled()
        gc.disable()  # what torch and transformers make while they are imported stays: looking through it is a sixth
        try:
            return getattr(importlib.import_module(FACE[name]), name)
        finally:
            if collecting:
                gc.enable()
    raise AttributeError(f"module 'invlib' has no attribute {name!r}; it gives {', '.join(FACE)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *FACE})
