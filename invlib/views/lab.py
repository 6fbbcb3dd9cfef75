"""The tools of the lab: each is a function that returns HTML or a figure; `lab_boxes` makes widgets of them.

Everything that comes from a text or a model is escaped before it becomes HTML, and dollars are no formula.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from invlib.data.duplicates import letters_key
from invlib.measures.changed_vectors import quantized, with_noise
from invlib.measures.channel import capacity, noise_of_db
from invlib.models.codec import Codec, split
from invlib.models.model import InvertibleSentenceModel
from invlib.models.text_code import TextCode
from invlib.probes.between_vectors import share_differing
from invlib.probes.latent import Line, Space, alternatives, around, cosines, decode_along, exchange
from invlib.probes.race import Attempt
from invlib.views.lab_parts import figure, line_of_text
from invlib.views.plots import label_axes, literal
from invlib.views.reconstruction import Cell, compare, compare_texts, table_html

DECIBELS = (20, 14, 8, 4, 0)
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
PREFIX, CODE = "C1", "C0"  # the colours of a vector's two halves


# 1. One sentence


def vector_figure(space: Space, text: str) -> Figure:
    """A sentence's vector as bars, its two halves in two colours where it has a semantic prefix."""
    (z,) = space.model.encode([text])
    size = 0 if space.model.components is None else space.model.components.shape[1]
    fig, (ax,) = figure(13, 3)
    halves = [("semantic prefix", 0, size, PREFIX), ("code", size, len(z), CODE)] if size else [("", 0, len(z), CODE)]
    for label, start, end, colour in halves:
        ax.bar(np.arange(start, end), z[start:end], width=1.0, color=colour, label=label)
    if size:
        ax.legend(loc="upper right", ncols=2)
    ax.set_title(literal(f"All that the decoder of {space.name} gets: {len(z)} numbers"))
    ax.margins(x=0.005)
    label_axes(ax, "number of the vector", "value")
    return fig


def sentence_html(space: Space, text: str, k: int = 5) -> str:
    """What is decoded of a sentence's vector: its pieces, the probability of each, and the k likeliest others."""
    model = space.model
    z = model.encode([text])
    ids = model.generate_ids(z)
    found = compare(model.encoder, text, ids[0], model.text(ids)[0], model.token_probabilities(z, ids)[0])
    others = alternatives(model, z[0], ids[0], k)
    rows = [
        {"word piece": piece, "": mark, "probability": probability(p)}
        | {f"the {k} likeliest others": ", ".join(f"{name} {probability(q)}" for name, q in other)}
        for piece, mark, p, other in zip(found.pieces, found.marks, found.probabilities or (), others, strict=True)
    ]
    head = table_html([{"": "typed", "text": text}, {"": "decoded", "text": found}], legend=True)
    return head + table_html(rows, [i for i, mark in enumerate(found.marks) if mark == "wrong"])


def probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


# 2. Between two sentences


def line_figure(lines: Mapping[str, Line]) -> Figure:
    """How much of either end is in the text, step by step: a panel for each line, its jump dashed."""
    fig, axes = figure(6.5 * len(lines), 3.6, len(lines))
    for ax, (name, line) in zip(axes, lines.items(), strict=True):
        ax.plot(line.shares, line.like_first, marker="o", label="as the first text")
        ax.plot(line.shares, line.like_second, marker="s", label="as the second text")
        if line.jump is not None:
            at = (line.shares[line.jump] + line.shares[line.jump - 1]) / 2
            ax.axvline(at, color="0.3", linestyle="--", label="the text jumps here")
        ax.set(ylim=(-0.03, 1.03), title=literal(name))
        label_axes(ax, "share of the way from the first vector to the second", "share of word pieces")
    axes[0].legend(fontsize=11)
    return fig


def line_html(line: Line, space: Space) -> str:
    """Every different text of a line with the nearest other headline; the first text after the jump is marked."""
    rows: list[dict[str, str]] = []
    marked: list[int] = []
    for text, group in groupby(range(len(line.texts)), lambda k: line.texts[k]):
        steps = list(group)
        if line.jump in steps:
            marked.append(len(rows))
        share = " to ".join(dict.fromkeys(f"{line.shares[k]:.2f}" for k in (steps[0], steps[-1])))
        rows.append({"share of the way": share, "decoded": text} | nearest(space, line, steps[len(steps) // 2]))
    return table_html(rows, marked) + line_of_text(f"Marked: the text after the jump. {headlines_are(space)}")


def step_html(line: Line, step: int, space: Space) -> str:
    """One step of a line: its text, the nearest other headline, and where the text jumps."""
    row = {"share of the way": f"{line.shares[step]:.2f}", "decoded": line.texts[step]} | nearest(space, line, step)
    jump = "The text is the same all the way."
    if line.jump is not None:
        jump = f"The text jumps between {line.shares[line.jump - 1]:.2f} and {line.shares[line.jump]:.2f}."
    here = [0] if step == line.jump else []
    return table_html([row], here) + line_of_text(f"{jump} {headlines_are(space)}")


def nearest(space: Space, line: Line, step: int) -> dict[str, str]:
    """The columns of the headline whose vector is nearest, other than the two ends."""
    ends = {letters_key(line.texts[0]), letters_key(line.texts[-1])}
    found = space.headlines.nearest(line.vectors[step], k=len(ends) + 1)
    others = [(text, f"{cosine:.2f}") for text, cosine in found if letters_key(text) not in ends]
    return dict(zip(("nearest other headline", "its cosine"), [*others, ("", "")][0], strict=True))


def headlines_are(space: Space) -> str:
    return f"Headlines: {space.headlines.label}."


# 3. Noise


def noise_html(
    space: Space, text: str, decibels: Sequence[float] = DECIBELS, n: int = 8, code: TextCode | None = None
) -> str:
    """From little noise to much: how many of n samples still give the text, and one of the samples.

    code: of a language model; what the sentence costs in bits is then shown.
    """
    z = np.repeat(space.model.encode([text]), n, axis=0)
    spread = space.headlines.spread
    moved = [with_noise(z, spread, noise_of_db(level)) for level in decibels]  # as `around` moves it
    (clean, *_), *noisy = split(space.model.decode(np.concatenate([z, *moved])), n)
    rows = []
    for level, texts in zip(decibels, noisy, strict=True):
        sample = next((t for t in texts if t != clean), clean)  # one that shows what changes, if any does
        shown = compare_texts(space.model.encoder, clean, sample)
        rows.append(
            noise_columns(space, level) | {f"unchanged, of {n}": str(texts.count(clean)), "a sample": shown}
        )  # fmt: skip
    deviations = "Standard deviations are those of each number over the headlines at hand."
    label = line_of_text(f"{deviations} {headlines_are(space)}")
    return table_html(rows) + bits_html(space, text, code) + label


def bits_html(space: Space, text: str, code: TextCode | None) -> str:
    """What a sentence costs under a language model, to be held against the bits that fit; nothing without one."""
    if code is None:
        return ""
    ids = space.model.encoder.input_ids([text], space.model.config.max_length)
    return line_of_text(
        f"To a language model of headlines, which sees no vector, the sentence is {code.bits(ids)[0]:.0f} bits."
    )


def noise_columns(space: Space, decibels: float) -> dict[str, Cell]:
    bits = len(space.headlines.spread) * capacity(noise_of_db(decibels))
    return {
        "SNR (dB)": f"{decibels:g}", "noise (standard deviations)": f"{noise_of_db(decibels):.2f}",
        "the most bits that fit": f"{bits:.0f}",
    }  # fmt: skip


def samples_html(space: Space, text: str, decibels: float, seed: int, code: TextCode | None, bits: int = 32) -> str:
    """Eight samples around a sentence's vector at one level of noise, each against the text without noise.

    code: as in `noise_html`. bits: each number is rounded to what so many bits hold; 32 = it is not.
    """
    model = space.model
    (z,) = model.encode([text])
    (clean,) = model.decode(z[None])
    samples = around(model, z, noise_of_db(decibels), space.headlines.spread, 8, seed)
    vectors, texts = samples.vectors, samples.texts
    if bits < 32:
        vectors = quantized(vectors, np.abs(space.headlines.vectors).max(0), bits)
        texts = tuple(model.decode(vectors))
    rows: list[dict[str, Cell]] = [
        {"sample": str(k + 1), "cosine": f"{c:.2f}", "decoded": compare_texts(model.encoder, clean, t)}
        for k, (t, c) in enumerate(zip(texts, cosines(vectors, z), strict=True))
    ]
    level = table_html([noise_columns(space, decibels) | {"bits a number": str(bits), "without noise": clean}])
    return level + bits_html(space, text, code) + table_html(rows, legend=True)


# 4. Two halves


def exchange_html(space: Space, a: str, b: str) -> str:
    """Each sentence's prefix with each one's code: what is decoded, and which sentence the vector is near to."""
    rows = [
        {"prefix (meaning) of": f"the {row['prefix']}", "code (words) of": f"the {row['code']}", "decoded": row["text"]}
        | {f"{what}, {k}": f"{row[f'{key}_{k}']:.2f}" for what, key in KINDS for k in ("first", "second")}
        for row in exchange(space.model, a, b).to_dict("records")
    ]
    return table_html(rows, [2, 3])


KINDS = (("same pieces", "like"), ("cosine", "cosine"))


# 5. A direction


def direction_html(spaces: Sequence[Space], text: str, directions: Mapping[str, np.ndarray]) -> str:
    """A sentence with a direction added at each of STRENGTHS; directions: of each space, by its name."""
    texts = {s.name: decode_along(s.model, text, directions[s.name], STRENGTHS) for s in spaces}
    rows = []
    for k, strength in enumerate(STRENGTHS):
        shown = {s.name: compare_texts(s.model.encoder, texts[s.name][0], texts[s.name][k]) for s in spaces}
        rows.append({"strength": f"{strength:g}"} | shown)
    return table_html(rows) + line_of_text("Marked: other pieces than at the first strength.")


# 6. Neighbours


def neighbours_html(space: Space, text: str, k: int = 5) -> str:
    """The k headlines with the largest cosine to a sentence, and what is decoded of their vectors."""
    found = space.headlines.nearest(space.model.encode([text])[0], k)
    decoded = space.model.reconstruct([headline for headline, _ in found])
    rows = [
        {"cosine": f"{cosine:.2f}", "headline": headline, "decoded from its vector": back}
        for (headline, cosine), back in zip(found, decoded, strict=True)
    ]
    return table_html(rows) + line_of_text(headlines_are(space))


# 7. A learned vector beside packed ids


def noise_curves(spaces: Sequence[Space], n: int = 6, decibels: Sequence[float] = DECIBELS) -> pd.DataFrame:
    """Share of positions unchanged by noise, over each space's first n headlines: columns name, decibels, unchanged."""
    rows = []
    for space in spaces:
        z, spread = space.headlines.vectors[:n], space.headlines.spread
        moved = [z, *(with_noise(z, spread, noise_of_db(level)) for level in decibels)]
        clean, *noisy = split(space.model.generate_ids(np.concatenate(moved)), len(z))
        for level, ids in zip(decibels, noisy, strict=True):
            same = [1 - share_differing(a, b) for a, b in zip(clean, ids, strict=True)]
            rows.append({"name": space.name, "decibels": level, "unchanged": float(np.mean(same))})
    return pd.DataFrame(rows)


def curves_figure(curves: pd.DataFrame) -> Figure:
    """`noise_curves`, a line for each space."""
    fig, (ax,) = figure(8.5, 3.6)
    for marker, (name, part) in zip("osD^v", curves.groupby("name", sort=False), strict=False):
        ax.plot(part["decibels"], part["unchanged"], marker=marker, label=literal(name))
    ax.set_xticks(sorted(set(curves["decibels"])))
    ax.invert_xaxis()
    ax.set_title("What noise leaves of the text")
    ax.set_ylim(-0.03, 1.03)
    ax.legend()
    label_axes(ax, "signal-to-noise ratio (dB); more noise to the right", "share of word pieces unchanged")
    return fig


def beside_html(spaces: Sequence[Space], texts: Sequence[str]) -> str:
    """What each space gives, a row each."""
    return table_html([{"vector": s.name, "decoded": t} for s, t in zip(spaces, texts, strict=True)])


# 9. A race


def race_html(attempts: Sequence[Attempt], encoder, text: str) -> str:
    """What each way found of a sentence so far; the last line is the best."""
    rows = [
        {"way": a.way, "cosine": f"{a.cosine:.4f}", "encoder calls": str(a.calls), "seconds": f"{a.seconds:.1f}"}
        | {"text": compare_texts(encoder, text, a.text)}
        for a in attempts
    ]
    return table_html(rows, legend=True) if rows else ""


# 10. Own sentences


def sentences_table(model: Codec, texts: Sequence[str]) -> pd.DataFrame:
    """One row a sentence: text, decoded, exact (bool: all word pieces), and the vector's numbers z0, z1, ...

    ValueError for no sentence, and for one that is empty or too long.
    """
    if not texts:
        raise ValueError("no sentences; write one a line")
    z = model.encode(texts)
    ids, own = model.generate_ids(z), model.encoder.input_ids(texts, model.config.max_length)
    exact = [list(row) == full[1:] for row, full in zip(ids, own, strict=True)]
    table = pd.DataFrame({"text": list(texts), "decoded": model.text(ids), "exact": exact})
    return pd.concat([table, pd.DataFrame(z, columns=[f"z{k}" for k in range(z.shape[1])])], axis=1)


def sentences_html(table: pd.DataFrame) -> str:
    """`sentences_table` without the vectors."""
    return table_html(
        [
            {"text": row["text"], "decoded": row["decoded"], "exact": "yes" if row["exact"] else "no"}
            for row in table[["text", "decoded", "exact"]].to_dict("records")
        ]
    )


# 11. Two models


def models_html(models: Mapping[str, InvertibleSentenceModel], text: str) -> str:
    """What each model decodes of its own vector of a sentence, a row each, and the piece that it doubts most."""
    rows: list[dict[str, Cell]] = []
    for name, model in models.items():
        z = model.encode([text])
        ids, encoder = model.generate_ids(z)[0], model.encoder
        found = compare(encoder, text, ids, model.text([ids])[0], model.token_probabilities(z, [ids])[0])
        p, piece = min(zip(found.probabilities or (), found.pieces, strict=True), default=(1.0, ""))
        doubt = f"{piece} {probability(p)}"
        rows.append({"model": name, "numbers": str(z.shape[1]), "decoded": found, "least sure of": doubt})
    return table_html(rows, legend=True)
