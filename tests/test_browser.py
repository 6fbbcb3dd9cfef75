"""The lab as a person sees it: JupyterLab on the loopback address, 13_latent_lab in a headless browser.

Skipped, with the reason, where Chromium (Debian: apt install chromium) or the package playwright is missing.
LAB_PICTURE=figures/lab.png in the environment keeps a picture of it there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from PIL import Image

from invlib import paths

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 600_000  # milliseconds until the last section has answered; a free machine takes some seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A JupyterLab on a copy of the notebook, without data and without a run; its address with the token."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt install chromium")
    pytest.importorskip("playwright", reason="playwright is missing: pip install playwright")
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(paths.NOTEBOOKS / "13_latent_lab.ipynb", folder)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INVLIB_")}
    places = [str(paths.ROOT), environment.get("PYTHONPATH", "")]
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, places)), "JUPYTER_PREFER_ENV_PATH": "1"}
    environment |= {"INVLIB_PRESET": "smoke", "INVLIB_RUN": str(folder / "run")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    command += ["--allow-root", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=lab"]
    log = folder / "server.log"
    with log.open("w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=folder) as job:
        try:
            yield address(log, job)
        finally:
            job.terminate()


def address(log: Path, job: subprocess.Popen) -> str:
    """Where the server listens, as soon as it says so."""
    for _ in range(600):
        if found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()):
            return found[0]
        assert job.poll() is None, log.read_text()[-2000:]
        time.sleep(0.2)
    raise TimeoutError(log.read_text()[-2000:])


def test_the_lab_asks_for_its_token(server):
    with pytest.raises(HTTPError, match="403"):
        urlopen(f"{server}api/contents")
    with urlopen(f"{server}api/contents?token=lab") as answer:
        assert answer.status == 200


def test_the_lab_answers(server, tmp_path):
    """Run all cells; type a sentence; move a slider; click on the map: the decoded text follows."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 9000})  # JupyterLab draws only the cells in view
        page.set_default_timeout(PATIENCE)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        begun = time.perf_counter()
        page.goto(f"{server}lab/tree/13_latent_lab.ipynb?token=lab&reset")
        page.locator(".jp-Notebook").wait_for()
        run_all_cells(page, server)
        sentence = page.get_by_label("sentence", exact=True).first
        sentence.wait_for()
        first = time.perf_counter() - begun
        page.get_by_role("button", name="save", exact=True).wait_for()
        everything = time.perf_counter() - begun
        sentence.fill("copper slips as china reopens")
        sentence.press("Enter")
        page.locator(
            ".widget-html td", has_text=re.compile(r"^copper slips as china reopens \[end\]$")
        ).first.wait_for()
        slider = page.locator(".widget-slider", has_text="step").locator("[role=slider]").first
        shown = page.locator(".widget-html", has_text="share of the way").first
        before = shown.inner_text()
        slider.focus()
        for _ in range(10):
            slider.press("ArrowRight")
        page.wait_for_function("([e, old]) => e.innerText !== old", arg=[shown.element_handle(), before])
        page.locator(".widget-html td", has_text="uber offers to share journey data").first.wait_for()
        picture_of_map = page.locator(".jp-OutputArea-output img.widget-image").last
        picture_of_map.scroll_into_view_if_needed()
        moved = page.locator(".widget-html", has_text="these two numbers alone").last
        before = moved.inner_text()
        size = picture_of_map.bounding_box()
        picture_of_map.click(position={"x": 0.3 * size["width"], "y": 0.8 * size["height"]})
        page.wait_for_function("([e, old]) => e.innerText !== old", arg=[moved.element_handle(), before])
        page.screenshot(path=tmp_path / "lab.png")
        if wanted := os.environ.get("LAB_PICTURE"):
            picture(tmp_path / "lab.png", page.get_by_role("heading", name="1. Type a sentence").first, Path(wanted))
        print(f"first answer {first:.0f} s, whole notebook {everything:.0f} s after opening")
        browser.close()
    assert not problems


def run_all_cells(page, server: str) -> None:
    """Once the kernel is connected, and until it is at work: what is asked of it before is lost without a word."""
    wait_for_kernel(server, "idle", seconds=300)
    for _ in range(5):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
        if wait_for_kernel(server, "busy", seconds=20):
            return
    raise AssertionError("the kernel has not begun")


def wait_for_kernel(server: str, state: str, seconds: float) -> bool:
    """Whether the one kernel, with a page connected to it, comes to stay in a state for a second."""
    held, end = 0, time.perf_counter() + seconds
    while held < 5 and time.perf_counter() < end:
        with urlopen(f"{server}api/kernels?token=lab") as answer:
            kernels = json.load(answer)
        held = held + 1 if any(k["connections"] and k["execution_state"] == state for k in kernels) else 0
        time.sleep(0.2)
    return held == 5


def picture(shot: Path, heading, file: Path) -> None:
    """The lab's first tool: 910 x 1270 of the page, from a heading on, without the side bar, in 256 colours."""
    left, top = round(heading.bounding_box()["x"]) - 60, round(heading.bounding_box()["y"])
    with Image.open(shot) as image:
        part = image.convert("RGB").crop((left, top, left + 910, top + 1270))
        part.quantize(256, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
