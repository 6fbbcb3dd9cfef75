"""All slides as one HTML file that needs nothing but itself: reveal.js, type, figures and formulas are in it."""

import base64
import html
import re
from pathlib import Path

from invlib import paths
from invlib.series import tables
from invlib.series.slides.parts import Part, build_part, markdown
from invlib.series.slides.talk import Slide, TalkError, read_talk

HERE = Path(__file__).parent
REVEAL = HERE / "vendor" / "reveal.js-5.2.1"
FONTS = {400: "source-sans-pro-regular.woff", 600: "source-sans-pro-semibold.woff"}
# The page may load nothing: the browser itself refuses. Frames are the speaker view's own copies of the page.
POLICY = "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
POLICY += "; frame-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
# Before it prints, reveal.js waits for a frame, and a browser without a window may never draw one
PRINTING = "if (/print-pdf/.test(location.search)) window.requestAnimationFrame = go => setTimeout(go, 0);"
OPTIONS = """Reveal.initialize({
  width: 1280, height: 720, margin: 0, center: false, hash: true, slideNumber: 'c/t', transition: 'none',
  pdfSeparateFragments: false, pdfMaxPagesPerSlide: 1, plugins: [RevealNotes],
});"""


def build_page(folder: Path | None = None, talk: Path | None = None) -> str:
    """The whole talk as HTML, with the figures of a published run.

    folder: of results/; by default the run that README.md shows. talk: another talk.yaml.
    Raises TalkError that names the slide and what it lacks.
    """
    folder = folder or tables.published()
    if folder is None:
        raise TalkError(f"no run is published in {paths.RESULTS}; the results are in a clone of the repository")
    slides = read_talk(folder, talk)
    sections = "\n".join(section(slide, folder) for slide in slides)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(slides[0].title)}</title>
<style>{styles()}</style>
</head>
<body>
<div class="reveal"><div class="slides">
{sections}
</div></div>
<script>{PRINTING}</script>
<script>{script("reveal.js")}</script>
<script>{script("notes.js")}</script>
<script>{OPTIONS}</script>
</body>
</html>
"""


def section(slide: Slide, folder: Path) -> str:
    """One slide as reveal.js wants it: title, parts, where the numbers come from, notes."""
    built = [build_part(slide, part, folder) for part in slide.parts]
    shares = slide.side_by_side
    boxes = [
        f'<div class="part" style="flex:{share} 1 0">{part.html}</div>'
        if share
        else f'<div class="part">{part.html}</div>'
        for part, share in zip(built, shares or [0] * len(built), strict=True)
    ]
    foot = markdown(slide.filled(slide.foot)) if slide.foot else ""
    level = "h1" if slide.opening else "h2"
    kind = " columns" if shares else " words" if all("text" in part for part in slide.parts) else ""
    return f"""<section>
<div class="slide{" opening" if slide.opening else ""}">
<{level}>{inline(slide.filled(slide.title))}</{level}>
<div class="body{kind}">{"".join(boxes)}</div>
<div class="foot">{foot}<p class="sources">{html.escape(sources(slide, built, folder))}</p></div>
</div>
<aside class="notes">{markdown(slide.filled(slide.notes))}</aside>
</section>"""


def inline(text: str) -> str:
    """A title's Markdown, without the paragraph around it."""
    return re.sub(r"^<p>|</p>\s*$", "", markdown(text).strip())


def sources(slide: Slide, parts: list[Part], folder: Path) -> str:
    """The files that a slide's numbers, figures and cells come from."""
    files = dict.fromkeys([*slide.files, *(file for part in parts for file in part.files)])
    own = [file for file in files if file.startswith(("notebooks/", "figures/"))]
    names = [file.removeprefix("tables/") for file in files if file not in own]
    if len(names) > 4:
        names = [*names[:3], "..."]
    return "; ".join(([f"results/{folder.name}: {', '.join(names)}"] if names else []) + own)


def styles() -> str:
    """reveal.js's own style sheets and the talk's, the type embedded."""
    faces = ""
    for weight, file in FONTS.items():
        data = base64.b64encode((REVEAL / "fonts" / file).read_bytes()).decode()
        faces += (
            f"@font-face{{font-family:'Source Sans Pro';font-weight:{weight};src:url(data:font/woff;base64,{data})}}"
        )
    sheets = (REVEAL / "reset.css", REVEAL / "reveal.css", HERE / "talk.css")
    return faces + "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)


def script(name: str) -> str:
    """A vendored script as it stands in a page: nothing in it ends the element or names a source map."""
    text = (REVEAL / name).read_text(encoding="utf-8")
    return re.sub(r"//# sourceMappingURL=\S+\s*$", "", text).replace("</script", "<\\/script")
