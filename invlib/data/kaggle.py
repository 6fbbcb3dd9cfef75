"""The Kaggle data set: what kagglehub's cache holds of it, and a download that never hangs and leaves no half."""

import contextlib
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

KAGGLE = "notlucasp/financial-news-headlines"


def kaggle_cache() -> Path:
    """The folder in which kagglehub keeps what it downloads."""
    return Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser()


def kaggle_cached() -> Path | None:
    """The newest version of the Kaggle data set that kagglehub's cache has as a whole; None where it has none.

    kagglehub marks a version that is whole with a file `<version>.complete`.
    """
    home = kaggle_cache() / "datasets" / KAGGLE
    versions = [home / "versions" / marker.stem for marker in home.glob("*.complete") if marker.stem.isdigit()]
    return max((v for v in versions if v.is_dir()), key=lambda v: int(v.name), default=None)


def kaggle_folder(seconds: float = 10.0) -> Path:
    """The folder of the Kaggle data set, downloaded with kagglehub where its cache does not have it yet.

    A process of its own downloads, and is ended after `seconds` without an answer (a name server or proxy that hangs
    obeys no timeout), or after six times that without a further byte. It writes into a temporary folder, which is
    moved into the cache when complete, so nothing half-written stays. Raises OSError with the reason.
    """
    if (folder := kaggle_cached()) is not None:
        return folder
    cache = kaggle_cache()
    home = cache / "datasets" / KAGGLE
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".invlib-", dir=cache, ignore_cleanup_errors=True) as staging:
        folder = Path(_download(Path(staging), seconds))
        staged = Path(staging) / "datasets" / KAGGLE
        if not folder.is_relative_to(staging):  # Kaggle's own machines have the data mounted
            return folder
        for item in sorted(staged.rglob("*"), key=lambda p: p.suffix == ".complete"):  # the marker last
            if item.is_file():
                target = home / item.relative_to(staged)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(item, target)
        return home / folder.relative_to(staged)


def _download(staging: Path, seconds: float) -> str:
    """Run kagglehub in a process of its own with `staging` as its cache; the folder that it names."""
    code = f"import kagglehub; print('\\n' + kagglehub.dataset_download({KAGGLE!r}))"
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "KAGGLEHUB_CACHE": str(staging)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            size, since = 0, time.monotonic()
            while process.poll() is None:
                if (now := _size(staging)) != size:
                    size, since = now, time.monotonic()
                if time.monotonic() - since > (6 * seconds if size else seconds):
                    raise TimeoutError(f"no answer from Kaggle within {seconds:g} s")
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            reason = _last_line(err.read()) or f"exit status {process.returncode}"
            raise ConnectionError(f"kagglehub: {textwrap.shorten(reason, 120)}")
        return _last_line(out.read())


def _size(folder: Path) -> int:
    """Bytes in a folder that another process is writing into."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # an unpacked archive goes while it is counted
            total += path.stat().st_size if path.is_file() else 0
    return total


def _last_line(output: bytes) -> str:
    return next(reversed(output.decode(errors="replace").strip().splitlines()), "")
