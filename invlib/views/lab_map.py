"""The lab's map: headlines as points of a plane, coloured three ways, and what is decoded where somebody clicks."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
from ipyevents import Event
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer

from invlib.measures.similarity import unit
from invlib.probes.between_vectors import share_differing
from invlib.probes.latent import Plane, Space, plane
from invlib.views.lab import headlines_are
from invlib.views.lab_controls import NAMED, WIDE, answering, choice, slider
from invlib.views.lab_parts import figure, line_of_text, png
from invlib.views.plots import label_axes, literal
from invlib.views.reconstruction import table_html

TOPICS = 5
COLOURS = ("length", "topic", "pieces right")  # what a point's colour can say
NEAR = 0.02  # of the map's width: a click within it means the headline


class Colouring(NamedTuple):
    """A number for each point, (N,); what it says; the names of the numbers 0, 1, ... where it is a topic."""

    values: np.ndarray
    label: str
    names: tuple[str, ...] = ()


def colouring(space: Space, by: str = COLOURS[0]) -> Colouring:
    """The headlines' colours by one of COLOURS, else ValueError; for `pieces right` all of them are decoded."""
    texts, model = space.headlines.texts, space.model
    if by == "topic":
        return topics(texts, space.headlines.vectors)
    if by not in COLOURS:
        raise ValueError(f"unknown colour {by!r}; choose one of {', '.join(COLOURS)}")
    own = model.encoder.input_ids(texts)
    if by == "length":
        return Colouring(np.array([len(row) - 2 for row in own]), "word pieces")
    found = model.generate_ids(space.headlines.vectors)
    right = [1 - share_differing(ids[1:], row) for ids, row in zip(own, found, strict=True)]
    return Colouring(np.array(right), "share of word pieces decoded right")


def topics(texts: Sequence[str], vectors: np.ndarray) -> Colouring:
    """A topic for each text, by k-means over the directions of its vectors (N, D).

    A topic is called by the two words that weigh most in its texts (mean tf-idf).
    """
    which = KMeans(min(TOPICS, len(texts)), n_init=4, random_state=0).fit_predict(unit(vectors))
    words = TfidfVectorizer(stop_words="english", token_pattern=r"[^\W\d_]{2,}")
    weights, known = words.fit_transform(texts).toarray(), words.get_feature_names_out()
    best = [weights[which == k].mean(0).argsort(kind="stable")[:-3:-1] for k in range(which.max() + 1)]
    return Colouring(which, "topic, by the words that weigh most", tuple(", ".join(known[row]) for row in best))


def map_figure(
    space: Space, plane: Plane, at: tuple[float, float] | None = None, colours: Colouring | None = None
) -> Figure:
    """The headlines in the plane of most variance, coloured by their length if not otherwise; `at`: a point to mark."""
    values, label, names = colours or colouring(space)
    fig, (ax,) = figure(8.5, 5.2)
    look = {}
    if names:
        kinds = ListedColormap([f"C{k}" for k in range(len(names))])
        look = {"cmap": kinds, "norm": BoundaryNorm(range(len(names) + 1), kinds.N)}
    bar = fig.colorbar(ax.scatter(*plane.points.T, c=values, s=26, **look), ax=ax, label=label)
    if names:
        bar.set_ticks([k + 0.5 for k in range(len(names))], labels=[literal(name) for name in names])
    if at is not None:
        ax.plot(*at, marker="X", markersize=15, color="C1", markeredgecolor="black")
    ax.set_title(literal(f"{space.name}: two directions hold {plane.share:.0%} of the variance"))
    label_axes(ax, "first principal component", "second principal component")
    return fig


def place_of(fig: Figure, across: float, down: float) -> tuple[float, float]:
    """The map's coordinates under a point of its picture; across, down: shares of the picture's width and height."""
    width, height = fig.bbox.size
    x, y = fig.axes[0].transData.inverted().transform((across * width, (1 - down) * height))
    return float(x), float(y)


def near_headline(plane: Plane, x: float, y: float) -> int | None:
    """The headline that a click on (x, y) means; None where it is on empty space."""
    distances = np.hypot(*(plane.points - (x, y)).T)
    k = int(distances.argmin())
    return k if distances[k] <= NEAR * np.ptp(plane.points[:, 0]) else None


def point_html(space: Space, plane: Plane, x: float, y: float) -> str:
    """What lies at a point of the map: the text of the plane's vector there, and the headline drawn nearest to it."""
    k = int(((plane.points - (x, y)) ** 2).sum(1).argmin())
    vector = plane.vector(x, y)
    here, headline = space.model.decode(np.stack([vector, space.headlines.vectors[k]]))
    rows = [
        {"at the point": "these two numbers alone, all others as the mean", "decoded": here or "(an empty text)"},
        {"at the point": "the whole vector of the headline drawn nearest", "decoded": headline},
        {"at the point": "that headline itself", "decoded": space.headlines.texts[k]},
    ]
    return table_html(rows) + line_of_text(headlines_are(space))


def map_box(spaces: Sequence[Space]) -> widgets.VBox:
    """A map of the headlines: a click, two sliders or the list choose a point, and what lies there is decoded."""
    space, planes = choice(spaces), {s.name: plane(s.headlines.vectors) for s in spaces}
    end = float(max(np.abs(p.points).max() for p in planes.values()))
    x, y = slider("x", 0, -end, end, end / 50), slider("y", 0, -end, end, end / 50)
    headline = widgets.Dropdown(description="headline", layout=WIDE, style=NAMED)
    by = widgets.Dropdown(options=COLOURS, description="colour", style=NAMED)
    image = widgets.Image(format="png", width=850)
    drawn: list[Figure] = []  # the figure in the image

    def here() -> Plane:
        return planes[space.value.name]

    @lru_cache(maxsize=8)
    def colours(_name: str, by: str) -> Colouring:
        return colouring(space.value, by)

    def work() -> str:
        at, look = (x.value, y.value), colours(space.value.name, by.value)
        drawn[:] = [map_figure(space.value, here(), at, look)]
        image.value = png(drawn[0])
        return point_html(space.value, here(), x.value, y.value)

    def show(k: int) -> None:
        x.value, y.value = map(float, here().points[k])

    def choose(_=None) -> None:
        if headline.value is not None:
            show(headline.value)

    def click(event: dict) -> None:
        size = event["boundingRectWidth"], event["boundingRectHeight"]
        at = place_of(drawn[0], event["relativeX"] / size[0], event["relativeY"] / size[1])
        if (k := near_headline(here(), *at)) is not None:
            show(k)
        else:
            x.value, y.value = at

    def list_headlines(_=None) -> None:
        texts = space.value.headlines.texts
        headline.options = [("(choose one)", None), *((text, k) for k, text in enumerate(texts))]

    list_headlines()
    space.observe(list_headlines, names="value")
    headline.observe(choose, names="value")
    box = answering(work, space, x, y, by, above=[space, headline, by, x, y], below=[image])
    clicks = Event(source=image, watched_events=["click"])
    clicks.on_dom_event(click)
    box.clicks = clicks  # lives as long as the box
    return box
