"""`python -m invlib.series.slides`: the talk as one HTML file, and as a PDF where a browser is found."""

import sys

from invlib.series.slides.command import main

if __name__ == "__main__":
    sys.exit(main())
