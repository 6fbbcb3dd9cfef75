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
from invlib.data.headlines import usable
from invlib.data.kaggle import KAGGLE
from invlib.data.network import SECONDS, hub, offline, reachable
from invlib.data.sources import locate, read
from invlib.encoders.hub import hub_folder, locate_model
from invlib.measures.scorers import scorer_names
from invlib.settings import device

GPU_PRESETS = ("gpu", "deck")


@dataclass(frozen=True)
class Check:
    """One thing that a run needs: whether it is there, what was found or is missing, and what to do about it."""

    name: str
    ok: bool
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line: `data      found  /headlines: 3 files`, and below it what to do."""
        lines = [f"  {self.name:<22} {'ok     ' if self.ok else 'MISSING'} {self.found}"]
        return "\n".join(lines + ([f"  {'':<22}         -> {self.remedy}"] if self.remedy else []))


def preflight(settings, folder: str | Path, min_disk_gb: float = 4.0, language_model: bool = True) -> list[Check]:
    """Look for everything that a run with these settings needs, within seconds and without a download.

    settings: an `invlib.settings.Settings`; folder: where the run writes; min_disk_gb: free space that it may need;
    language_model: whether one is asked for at all.
    Returns one `Check` a need, in a fixed order. Nothing is raised for what is missing.
    """
    lm = settings.language_model
    jobs = [
        lambda: check_data(settings.data, settings.preset, settings.allow_synthetic, settings.column),
        lambda: check_model("encoder", settings.encoder),
        *[
            lambda role=role, name=name: check_model(role, name)
            for role, name in scorer_names(settings.scorers).items()
        ],
        *([lambda: check_model("language model", lm)] if language_model and lm != "own" else []),
        lambda: check_disk(folder, min_disk_gb),
        lambda: check_writable(folder, paths.RUNS / "cache"),
        lambda: check_device(settings.preset),
    ]
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda job: job(), jobs))


def check_data(data: str | None, preset: str, allow_synthetic: bool, column: str | None = None) -> Check:
    """Where the headlines will come from, as `invlib.data.sources.locate` finds it; local files are read as a whole."""
    try:
        source = locate(data, column)
        if source.kind == "files":
            rows = usable(read(source, column), source.name)
    except (OSError, ValueError) as error:
        return Check("data", False, str(error))
    if source.kind == "synthetic":
        return Check("data", True, "the SYNTHETIC sample, as asked")
    if source.kind == "files":
        names = [file.name for file in source.files]
        files = f"{', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
        return Check("data", True, f"{source.name}: {files}; {len(rows):,} headlines before near-duplicates go")
    if source.kind == "hub":
        if offline() or reachable(hub()):
            place = "its cache alone, as HF_HUB_OFFLINE is set" if offline() else "not looked up yet"
            return Check("data", True, f"{data}, taken from the hub ({place})")
        text = f"no file or folder {data}, and the hub does not answer within {SECONDS:.0f} s"
        return Check("data", False, text, "give an existing file or folder, or a dataset name with a network")
    if reachable("https://www.kaggle.com"):
        return Check("data", True, f"{KAGGLE}, will be downloaded (a few MB)")
    remedy = (
        f"for the real headlines put the CSV files of kaggle.com/datasets/{KAGGLE} into {_short(paths.DATA / 'raw')}, "
        "or name their folder: export INVLIB_DATA=/folder"
    )
    if allow_synthetic:
        return Check("data", True, "no headlines here and Kaggle does not answer: the SYNTHETIC sample is used", remedy)
    text = f"no headlines here, Kaggle does not answer, and preset {preset} takes no synthetic ones by itself"
    return Check("data", False, text, f"{remedy}; or ask for the synthetic sample: -p data synthetic")


def check_model(role: str, name: str) -> Check:
    """Whether a model (role: encoder, a scorer, language model) can be loaded; what is here is looked into."""
    use = {"encoder": "-p encoder minilm", "language model": "-p language_model own"}.get(role, "-p scorers minilm")
    try:
        where = locate_model(name, role, use)
        if where != "download":
            hub_folder(name, role, use)  # its files are whole
    except OSError as error:
        return Check(role, False, str(error), "unset HF_HUB_OFFLINE to ask the hub" if offline() else "")
    found = {
        "embedded": "all-MiniLM-L6-v2, embedded",
        "folder": name,
        "cached": f"{name}, in the hub's cache",
        "download": f"{name}, will be downloaded from the hub",
    }
    return Check(role, True, found[where])


def check_disk(folder: str | Path, min_gb: float) -> Check:
    """Whether the disk that the run writes to has room."""
    place = _existing(folder)
    free = shutil.disk_usage(place).free / 1e9
    text = f"{free:.0f} GB free at {_short(place)}, up to {min_gb:g} GB needed"
    return Check(
        "disk", free >= min_gb, text, "" if free >= min_gb else "free some, or name another place: --run /folder"
    )


def check_writable(*folders: str | Path) -> Check:
    """Whether a run can write its files and its cache; the parent counts where a folder is not there yet."""
    for folder in folders:
        place = _existing(folder)
        try:
            tempfile.TemporaryFile(dir=place).close()
        except OSError as error:
            text = f"{_short(place)} can't be written ({error.strerror})"
            remedy = "copy the repository to a folder of your own; a run can also go elsewhere: --run /folder"
            return Check("folders", False, text, remedy)
    return Check("folders", True, f"{', '.join(_short(Path(folder)) for folder in folders)} can be written")


def check_device(preset: str) -> Check:
    """The device that torch will use; where an NVIDIA card stands idle, why, and what to do."""
    kind = device().type
    needed = preset in GPU_PRESETS and kind == "cpu"
    if kind == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        return Check("device", True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB")
    card = idle_card()
    if card:
        reason = (
            f"torch {torch.__version__} is built without CUDA: install a CUDA build of it (pytorch.org, Get Started)"
            if torch.version.cuda is None
            else f"torch {torch.__version__} (CUDA {torch.version.cuda}) can't use it: the driver may be too old, "
            "see nvidia-smi"
        )
        return Check("device", not needed, f"{kind}; {card} is here, but torch does not see it", reason)
    if needed:
        return Check("device", False, f"{kind}; preset {preset} needs a GPU", "use --preset cpu or study")
    return Check("device", True, f"{kind}, {os.cpu_count()} cores")


def idle_card() -> str | None:
    """The name of an NVIDIA card, as its driver tells; None where there is none, or where it is hidden on purpose."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1") or not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip().splitlines()[0] if answer.returncode == 0 and answer.stdout.strip() else None


def _existing(folder: str | Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    path = Path(folder).expanduser().resolve()
    return next(place for place in (path, *path.parents) if place.exists())


def _short(path: Path) -> str:
    """A path as seen from the repository."""
    path, root = path.resolve(), paths.ROOT
    return str(path.relative_to(root)) if path.is_relative_to(root) and path != root else str(path)
