"""What a run needs, looked for before its first notebook starts: data, encoder, scorers, disk and GPU, all at once."""

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from invlib import paths
from invlib.data.headlines import deduplicate, usable
from invlib.data.network import hub_answers, offline, reachable
from invlib.data.sources import KAGGLE, REMEDY, locate, read
from invlib.device import device
from invlib.encoders.hub import hub_folder, locate_model
from invlib.measures.scorers import scorer_names


@dataclass(frozen=True)
class Check:
    """One thing that a run needs: whether it is there, what was found or is missing, and what to do about it."""

    name: str
    ok: bool
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"  {self.name:<22} {'ok     ' if self.ok else 'MISSING'} {self.found}"
        return line + (f"\n  {'':<22}         -> {self.remedy}" if self.remedy else "")


def preflight(settings, folder: str | Path, min_disk_gb: float = 4.0, language_model: bool = True) -> list[Check]:
    """Look for all that a run with these `Settings` needs, within seconds and without a download: one `Check` a need.

    folder: where the run writes; language_model: whether it uses one. Nothing is raised for what is missing.
    """
    models = {"encoder": settings.encoder, **scorer_names(settings.scorers)}
    if language_model and settings.language_model != "own":
        models["language model"] = settings.language_model
    with ThreadPoolExecutor() as pool:
        data = pool.submit(check_data, settings.data, settings.preset, settings.allow_synthetic, settings.column)
        found = list(pool.map(check_model, models.keys(), models.values()))
    written = check_disk(folder, min_disk_gb), check_writable(folder, paths.RUNS / "cache")
    return [data.result(), *found, *written, check_device(settings.preset)]


def check_data(data: str | None, preset: str, allow_synthetic: bool, column: str | None = None) -> Check:
    """Where the headlines will come from, as `invlib.data.sources.locate` finds it; local files are read as a whole."""
    try:
        source = locate(data, column)
        n = len(deduplicate(usable(read(source, column)), source.name)[0]) if source.kind == "files" else 0
    except (OSError, ValueError) as error:
        return Check("data", False, str(error))
    if source.kind == "synthetic":
        return Check("data", True, "the SYNTHETIC sample, as asked")
    if source.kind == "files":
        names = ", ".join(file.name for file in source.files)
        return Check("data", True, f"{source.name}: {names:.80}; {n:,} different headlines")
    if source.kind == "hub":
        if offline() or hub_answers():
            place = "the hub's cache, as HF_HUB_OFFLINE is set" if offline() else "the hub"
            return Check("data", True, f"{data}, taken from {place}")
        text = f"{data} is neither a file nor a folder, and the hub does not answer"
        return Check("data", False, text, "give an existing file or folder, or a dataset name with a network")
    if reachable("https://api.kaggle.com"):
        return Check("data", True, f"{KAGGLE}, will be downloaded (a few MB)")
    text = "no headlines here, and Kaggle does not answer: "
    if allow_synthetic:
        return Check("data", True, f"{text}the SYNTHETIC sample is used", f"for the real headlines {REMEDY}")
    text += f"preset {preset} takes no synthetic ones by itself"
    return Check("data", False, text, f"{REMEDY}, or ask for the synthetic sample: -p data synthetic")


def check_model(role: str, name: str) -> Check:
    """Whether a model (role: encoder, a scorer, language model) can be loaded; what is here is looked into."""
    use = {"encoder": "-p encoder minilm", "language model": "-p language_model own"}.get(role, "-p scorers minilm")
    try:
        where = locate_model(name, role, use)
        if where != "download":
            hub_folder(name, role, use)  # its files are whole
    except OSError as error:
        return Check(role, False, str(error), "unset HF_HUB_OFFLINE to ask the hub" if offline() else "")
    found = {"cached": "in the hub's cache", "download": "will be downloaded from the hub"}.get(where, where)
    return Check(role, True, f"{name}, {found}")


def check_disk(folder: str | Path, min_gb: float) -> Check:
    """Whether the disk that the run writes to has room."""
    place = _existing(folder)
    free = shutil.disk_usage(place).free / 1e9
    remedy = "" if free >= min_gb else "free some, or name another place: --run /folder"
    return Check("disk", not remedy, f"{free:.0f} GB free at {place}, up to {min_gb:g} GB needed", remedy)


def check_writable(*folders: str | Path) -> Check:
    """Whether a run can write its files and its cache; the parent counts where a folder is not there yet."""
    for place in map(_existing, folders):
        try:
            tempfile.TemporaryFile(dir=place).close()
        except OSError as error:
            remedy = "copy the repository to a folder of your own; a run can also go elsewhere: --run /folder"
            return Check("folders", False, f"{place} can't be written ({error.strerror})", remedy)
    return Check("folders", True, f"{', '.join(map(str, folders))} can be written")


def check_device(preset: str) -> Check:
    """The device that torch will use; where an NVIDIA card stands idle, why, and what to do."""
    kind = device().type
    if kind == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        return Check("device", True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB")
    ok = kind != "cpu" or preset not in ("gpu", "gpu_short", "deck")
    if card := idle_card():
        built = f"torch {torch.__version__} is built {'for' if torch.version.cuda else 'without'} CUDA"
        remedy = f"{built} {torch.version.cuda or ''}: install a build that fits the driver (nvidia-smi, pytorch.org)"
        return Check("device", ok, f"{kind}; {card} is here, but torch does not see it", remedy)
    remedy = "" if ok else f"preset {preset} needs a GPU: use --preset cpu or study"
    return Check("device", ok, f"{kind}, {os.cpu_count()} cores", remedy)


def idle_card() -> str | None:
    """The name of an NVIDIA card, as its driver tells; None where there is none, or where it is hidden on purpose."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return None
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no driver, or one that fails
        return None
    return next(iter(answer.stdout.strip().splitlines()), None)


def _existing(folder: str | Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    path = Path(folder).expanduser().resolve()
    return next(place for place in (path, *path.parents) if place.exists())
