"""Drawings of the architectures: boxes and arrows, no numbers. Each function draws on an `ax` and returns it."""

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

WIDTH, HEIGHT = 12.0, 5.0  # of a drawing's axes, in units that are inches in a figure of this size
FROZEN, LEARNED, VECTOR, TEXT = "#E3EEF6", "#DDF0E7", "#FBDDBB", "#FFFFFF"  # what a box's colour says
LINE = "#444444"
WORDS = ("wall", "street", "falls", "[SEP]")  # the headline that is followed


def canvas(ax: Axes) -> Axes:
    """Empty axes of WIDTH x HEIGHT units, both of one length."""
    ax.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    ax.axis("off")
    return ax


def box(ax: Axes, x: float, y: float, text: str, width: float = 1.7, height: float = 0.8, colour: str = TEXT) -> None:
    """A rounded box around its centre (x, y)."""
    corner = (x - width / 2, y - height / 2)
    style = {"boxstyle": "round,pad=0,rounding_size=0.1", "facecolor": colour, "edgecolor": LINE, "linewidth": 1.4}
    ax.add_patch(FancyBboxPatch(corner, width, height, **style))
    ax.text(x, y, text, ha="center", va="center")


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **line) -> None:
    """An arrow from `start` to `end`."""
    look = {"arrowstyle": "-|>", "color": LINE, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 16}
    ax.annotate("", end, start, arrowprops=look | line)


def note(ax: Axes, x: float, y: float, text: str, **words) -> None:
    """Grey words at (x, y)."""
    ax.text(x, y, text, **{"ha": "center", "va": "center", "color": LINE} | words)


def legend(ax: Axes, kinds: dict[str, str], y: float = 0.25) -> None:
    """What the colours say, in a line at the foot."""
    x = WIDTH / 2 - 1.6 * (len(kinds) - 1)
    for k, (text, colour) in enumerate(kinds.items()):
        box(ax, x + 3.2 * k - 1.1, y, "", 0.35, 0.3, colour)
        note(ax, x + 3.2 * k - 0.8, y, text, ha="left")


def flow(ax: Axes) -> Axes:
    """A headline through the whole study: only ONE vector stands between encoder and decoder."""
    canvas(ax).set_ylim(0.7, 4.2)
    steps = ("headline\n(text)", "frozen\nencoder", "pooling", "ONE\nvector", "decoder", "headline\nagain")
    shapes = ("T word pieces", "(T, H)", "", "(D)", "", "T word pieces")
    colours = (TEXT, FROZEN, LEARNED, VECTOR, LEARNED, TEXT)
    for k, (text, shape, colour) in enumerate(zip(steps, shapes, colours, strict=True)):
        x = 1 + 2 * k
        box(ax, x, 3.2, text, 1.55, 1.1, colour)
        note(ax, x, 2.35, shape)
        if k:
            arrow(ax, (x - 1.22, 3.2), (x - 0.78, 3.2))
    note(ax, 6, 1.65, "nothing else passes from the left half to the right half")
    legend(ax, {"never trained": FROZEN, "trained": LEARNED, "the vector": VECTOR}, 1.0)
    return ax


def recurrent(ax: Axes) -> Axes:
    """The RNN: the last state of one LSTM is the vector, from which another LSTM starts."""
    canvas(ax).set_ylim(0.5, 4.5)
    for k, word in enumerate(WORDS):
        x = 0.9 + 1.35 * k
        note(ax, x, 1.1, word)
        arrow(ax, (x, 1.4), (x, 2.1))
        box(ax, x, 2.5, "LSTM", 1.0, 0.8, LEARNED)
        if k:
            arrow(ax, (x - 0.85, 2.5), (x - 0.5, 2.5))
        x = 7.95 + 1.15 * k
        box(ax, x, 2.5, "LSTM", 0.95, 0.8, LEARNED)
        arrow(ax, (x, 2.9), (x, 3.6))
        note(ax, x, 3.9, word)
        arrow(ax, (x - (1.0 if k == 0 else 0.675), 2.5), (x - 0.475, 2.5))
    arrow(ax, (5.45, 2.5), (5.8, 2.5))
    box(ax, 6.35, 2.5, "last\nstate", 1.05, 1.1, VECTOR)
    note(ax, 3.0, 3.35, "reads one word piece after another")
    note(ax, 9.65, 1.65, "writes one after another;\nsees the vector at its start alone")
    return ax


def poolings(ax: Axes) -> Axes:
    """The deck's three ways from many states to one vector to a text, a line each."""
    canvas(ax)
    lines = (
        ("encoder_only", "softmax head", "all positions\nin one step"),
        ("cls_decoder", "[CLS] state", "Transformer,\nword by word"),
        ("att_pool", "softmax head", "Transformer,\nword by word"),
    )
    box(ax, 1.1, 2.6, "frozen\nencoder", 1.6, 3.6, FROZEN)
    for k, (name, pooling, decoder) in enumerate(lines):
        y = 4.2 - 1.6 * k
        for t in range(4):
            picked = t == 0 or pooling != "[CLS] state"
            box(ax, 2.6 + 0.5 * t, y, "", 0.34, 0.8, FROZEN if picked else "#F6F6F6")
        arrow(ax, (4.4, y), (5.0, y))
        box(ax, 6.0, y, pooling, 2.0, 0.8, LEARNED if "head" in pooling else FROZEN)
        arrow(ax, (7.0, y), (7.5, y))
        box(ax, 8.05, y, "vector", 1.1, 0.8, VECTOR)
        arrow(ax, (8.6, y), (9.2, y))
        box(ax, 10.5, y, decoder, 2.6, 0.95, LEARNED)
        note(ax, 7.4, y + 0.62, name, family="monospace")
    note(ax, 3.35, 0.25, "states, one a word piece")
    return ax


def two_halves(ax: Axes) -> Axes:
    """`hybrid`: the prefix comes from the sentence embedding, the code from the word pieces, each in its place."""
    canvas(ax)
    box(ax, 0.95, 3.0, "frozen\nencoder", 1.5, 3.0, FROZEN)
    note(ax, 2.95, 4.35, "sentence\nembedding")
    arrow(ax, (1.7, 4.0), (4.15, 4.0))
    box(ax, 5.2, 4.0, "PCA (fitted once)", 2.1, 0.8, FROZEN)
    arrow(ax, (6.25, 4.0), (6.95, 4.0))
    note(ax, 2.6, 1.05, "word embeddings,\nlast states")
    for k in range(4):
        y = 2.85 - 0.5 * k
        arrow(ax, (1.7, 2.6 - 0.25 * k), (4.15, y))
        box(ax, 5.2, y, f"query {k + 1}", 2.1, 0.42, LEARNED)
        arrow(ax, (6.25, y), (6.95, y))
        box(ax, 7.7, y, WORDS[k], 1.5, 0.48, VECTOR)
    box(ax, 7.7, 4.0, "prefix", 1.5, 0.9, VECTOR)
    note(ax, 7.7, 4.7, "ONE vector")
    note(ax, 7.7, 3.3, "code")
    arrow(ax, (8.55, 2.85), (9.3, 2.85))
    box(ax, 10.4, 2.85, "decoder", 2.2, 1.3, LEARNED)
    note(ax, 10.4, 4.15, "prefix: what it means,\nso cosines work")
    note(ax, 10.4, 1.6, "code: which words,\neach in its own numbers")
    legend(ax, {"never trained": FROZEN, "trained": LEARNED, "the vector": VECTOR}, 0.4)
    return ax


def attack(ax: Axes) -> Axes:
    """How an encoder's own vector is read: guess, ask the encoder, improve the guess."""
    canvas(ax).set_ylim(1.95, 4.35)
    box(ax, 1.2, 2.6, "vector of an\nunknown text", 1.9, 1.1, VECTOR)
    arrow(ax, (2.15, 2.6), (2.9, 2.6))
    box(ax, 3.9, 2.6, "inverter:\nseveral guesses", 2.0, 1.1, LEARNED)
    arrow(ax, (4.9, 2.6), (5.65, 2.6))
    box(ax, 6.75, 2.6, "encoder: is the\nguess near?", 2.2, 1.1, FROZEN)
    arrow(ax, (7.85, 2.6), (8.6, 2.6))
    box(ax, 9.95, 2.6, "search and corrector:\nbetter guesses", 2.7, 1.1, LEARNED)
    arrow(ax, (9.95, 3.15), (6.75, 3.15), connectionstyle="arc3,rad=0.45")
    note(ax, 8.35, 4.15, "again and again: a right guess has cosine one")
    return ax
