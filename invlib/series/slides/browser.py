"""The talk printed to PDF by a Chromium-like browser without a window, where the machine has one."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge", "microsoft-edge")
PLACES = (  # where the installers of macOS and Windows put it
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
HOW = "open the talk in a browser with ?print-pdf at the end of its address and print it to a PDF, or install chromium"


def find_browser() -> str | None:
    """The command of a Chromium-like browser, or None."""
    found = [path for name in NAMES if (path := shutil.which(name))]
    return next(iter(found + [place for place in PLACES if Path(place).is_file()]), None)


def browse(page: Path, *options: str, query: str = "") -> str:
    """Open a file in a browser without a window and without a network; what the browser writes to standard output.

    Raises FileNotFoundError without a browser, RuntimeError where it fails.
    """
    browser = find_browser()
    if browser is None:
        raise FileNotFoundError(f"no Chromium-like browser is installed: {HOW}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            browser, "--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", f"--user-data-dir={profile}",
            "--disable-dev-shm-usage", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND",
            "--window-size=1280,720", "--force-device-scale-factor=1", "--virtual-time-budget=20000", *options,
        ]  # fmt: skip
        if sys.platform == "linux" and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium has no sandbox for root
        try:
            command.append(page.resolve().as_uri() + query)
            done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{browser} gave no answer in {error.timeout} s") from error
    if done.returncode:
        raise RuntimeError(f"{browser} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def screenshot(page: Path, number: int, picture: Path) -> None:
    """The slide with this number as a PNG of 1280 x 720, in 256 colours. Raises what `browse` raises."""
    picture.unlink(missing_ok=True)
    browse(page, f"--screenshot={picture.resolve()}", query=f"#/{number - 1}")
    if not picture.is_file():
        raise RuntimeError(f"the browser wrote no {picture.name}")
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, format="PNG", optimize=True)


def print_pdf(page: Path, pdf: Path) -> None:
    """Print the talk to `pdf`, a page a slide. Raises what `browse` raises."""
    pdf.unlink(missing_ok=True)
    browse(page, f"--print-to-pdf={pdf.resolve()}", "--no-pdf-header-footer", query="?print-pdf")
    if not pdf.is_file():
        raise RuntimeError("the browser wrote no PDF")
