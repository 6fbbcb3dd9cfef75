"""The command `python -m invlib.series.slides`, which `make slides` calls."""

import argparse
import os
import sys
from pathlib import Path

from invlib import paths
from invlib.series.slides.browser import print_pdf, screenshot
from invlib.series.slides.page import build_page
from invlib.series.slides.talk import TalkError


def main(argv: list[str] | None = None) -> int:
    """Write the talk, and its PDF beside it; returns the exit status, 2 where a slide lacks something."""
    parser = argparse.ArgumentParser(prog="python -m invlib.series.slides", description=__doc__)
    parser.add_argument("--output", type=Path, default=paths.ROOT / "build" / "slides.html", help="the HTML file")
    parser.add_argument("--results", type=Path, help="a published run; by default the one that README.md shows")
    parser.add_argument("--talk", type=Path, help="another talk.yaml")
    parser.add_argument(
        "--screenshots", type=int, nargs="+", default=(), metavar="N", help="these slides as figures/slides_NN.png too"
    )
    parser.add_argument("--no-pdf", action="store_true", help="the HTML file alone")
    args = parser.parse_args(argv)
    try:
        page = build_page(args.results, args.talk)
    except TalkError as error:
        print(f"invlib.series.slides: {error}", file=sys.stderr)
        return 2
    paths.write_text(args.output, page)
    print(
        f"{os.path.relpath(args.output)}: {page.count('<section>')} slides, {len(page) / 1e6:.1f} MB; S opens the notes"
    )
    try:
        if not args.no_pdf:
            pdf = args.output.with_suffix(".pdf")
            print_pdf(args.output, pdf)
            print(os.path.relpath(pdf))
        for number in args.screenshots:
            picture = paths.FIGURES / f"slides_{number:02}.png"
            screenshot(args.output, number, picture)
            print(os.path.relpath(picture))
    except (FileNotFoundError, RuntimeError) as error:
        print(f"no PDF: {error}")
        return 1 if args.screenshots else 0
    return 0
