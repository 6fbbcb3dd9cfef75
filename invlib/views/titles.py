"""The message of each figure of notebooks 00 to 07, in the run's own figures, so that it is true of any run.

titles.say(fig, titles.bits(results))
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from invlib.evaluation.run_results import name_of
from invlib.views.plots import literal

CHARACTERS = 8.6  # of a title, that fit into an inch of the figure


def say(fig: Figure, message: str) -> None:
    """The message above all panels, from the left edge, in as many lines as the figure's width needs."""
    lines = textwrap.wrap(message, int(CHARACTERS * fig.get_figwidth()))
    fig.suptitle(literal("\n".join(lines)), x=0.01, ha="left")


def lengths(pieces: Sequence[int], longest: int) -> str:
    """pieces: of each headline; longest: where they are cut."""
    low, high = np.percentile(pieces, [1, 99])
    cut = f"{(np.asarray(pieces) > longest).sum()} of {len(pieces):,} are cut at {longest}"
    return f"98% of the headlines have {low:.0f} to {high:.0f} word pieces; {cut}"


def word_pieces(covered: Sequence[float]) -> str:
    """covered: per cent of the text that the commonest 1, 2, ... word pieces cover, rising."""
    half = int((np.asarray(covered) < 50).sum()) + 1
    return f"The {half:,} commonest word pieces are half of the text, {len(covered) - half:,} rarer ones the other half"


def layers(reading: Mapping[str, pd.DataFrame]) -> str:
    """reading: a frame with the column share, a line a layer, of each way of reading a word off its state."""
    found = " and ".join(f"{table['share'].iloc[-1]:.0%} ({name})" for name, table in reading.items())
    return f"Words that can still be read off the last layer's states: {found}"


def similarity(cosines: np.ndarray) -> str:
    """cosines (N, N) of headlines, numbered from 1."""
    one, other = np.triu_indices(len(cosines), 1)
    pairs = cosines[one, other]
    k = pairs.argmax()
    pair = f"Headlines {one[k] + 1} and {other[k] + 1} are most alike, cosine {pairs[k]:.2f}"
    return f"{pair}; the median pair has {np.median(pairs):.2f}"


def curve(curves: pd.DataFrame) -> str:
    """curves: of one training, a line an epoch."""
    loss, end = curves["validation_loss"], curves.iloc[-1]
    falls = "still falls" if len(loss) > 1 and loss.iloc[-1] <= loss.min() else "no longer falls"
    falls = falls if len(loss) > 1 else "has one point"
    return f"The validation loss {falls} after {end['epoch']:.1f} epochs; next-token accuracy {end['accuracy']:.0%}"


def forgetting(by_position: pd.DataFrame) -> str:
    """by_position: columns measured (generated, true prefix, another headline's vector), position and accuracy."""
    table = by_position.pivot(index="position", columns="measured", values="accuracy")
    k = max(len(table) // 3, 1)
    gain = table["true prefix"] - table["another headline's vector"]
    ends = [(line.iloc[:k].mean(), line.iloc[-k:].mean()) for line in (table["generated"], gain)]
    (first, last), (early, late) = ends
    told = f"generated text {first:.0%} and {last:.0%} right, the vector's own part {early:.0%} and {late:.0%}"
    return f"First and last {k} positions: {told}"


def moved(change: pd.DataFrame) -> str:
    """change: columns read_after (pieces after the replaced one) and change (share of the vector's length)."""
    last, first = change.iloc[0], change.iloc[-1]
    after = f"{first['change']:.0%} where {first['read_after'] - 1:.0f} more follow"
    return f"Replacing a piece moves the vector by {last['change']:.0%} where it is the last, by {after}"


def order(means: Mapping[str, Sequence[float]]) -> str:
    """means: the cosines to the headline's own vector, of each pooling, for shuffled words and for another headline."""
    own, other = (f"{min(values):.2f} to {max(values):.2f}" for values in means.values())
    return f"Shuffled words keep a cosine of {own}; another headline has {other}"


def head_weights(read: Mapping[str, np.ndarray], mask: np.ndarray) -> str:
    """read: the weights (B, T) of each head; mask (B, T): where there is a piece."""
    found = [f"{(w * mask.sum(1, keepdims=True)).max():.1f} ({label})" for label, w in read.items()]
    return f"The largest weight of a piece, in even shares: {', '.join(found)}"


def head_kinds(kinds: Sequence[str], relative: Mapping[str, Sequence[float | None]]) -> str:
    """relative: of each head the weight of each kind of piece over an even share; the last head is told."""
    head, values = list(relative.items())[-1]
    found = sorted((value, kind) for kind, value in zip(kinds, values, strict=True) if value is not None)
    (low, least), (high, most) = found[0], found[-1]
    return f"The head, {head}: the kind “{most}” has {high:.2f} times an even share, “{least}” {low:.2f} times"


def training(curves: Mapping[str, pd.DataFrame], names: Sequence[str], control: str) -> str:
    """Accuracy at the lowest validation loss; curves: of all trainings; names: of the models; control: no vector."""
    accuracy = {name: c.loc[c["validation_loss"].idxmin(), "accuracy"] for name, c in curves.items()}
    best, above = max(names, key=accuracy.__getitem__), sum(accuracy[name] > accuracy[control] for name in names)
    told = f"{above} of {len(names)} models are above the no-vector control's {accuracy[control]:.0%}"
    return f"{best} predicts {accuracy[best]:.0%} of the next pieces; {told}"


def reference_bits(bits: Sequence[float]) -> str:
    """bits: of each headline under the reference language model."""
    low, high = np.quantile(bits, [0.05, 0.95])
    return f"A headline costs {np.mean(bits):.0f} bits on average, nine of ten {low:.0f} to {high:.0f}"


def language_models(losses: Mapping[str, float], reference: float) -> str:
    """losses: the lowest validation loss of each language model and of the reference, in nats per word piece."""
    best = min(losses, key=losses.__getitem__)
    side = "above" if losses[best] > reference else "not above"
    return f"{best} ends lowest, at {losses[best]:.2f} nats per piece, {side} the reference's {reference:.2f}"


def flattery(results: Sequence[Mapping]) -> str:
    """The model that loses most on its own words, and the best; results: rows of metrics.json."""
    rows = [row for row in results if pd.notna(row.get("accuracy")) and pd.notna(row.get("generated_accuracy"))]
    given = [row for row in rows if row["model"] != "encoder_only"]  # it is given no true words
    falls = max(given or rows, key=lambda row: row["accuracy"] - row["generated_accuracy"])
    best = max(rows, key=lambda row: row["generated_accuracy"])
    told = {name_of(row): f"{row['accuracy']:.0%} and {row['generated_accuracy']:.0%}" for row in (falls, best)}
    return f"Right with true words given, then alone: {', '.join(f'{name} {both}' for name, both in told.items())}"


def top_k(curves: Mapping[str, Sequence[float]], ks: Sequence[int]) -> str:
    """curves: of each model the share of true pieces among the `ks` most likely ones."""
    at = list(ks).index(10)
    most = max(curves, key=lambda name: curves[name][at] - curves[name][0])
    first, last = curves[most][0], curves[most][at]
    return f"{most.split()[0]} gains most from k = {ks[0]} to k = 10: {first:.0%} to {last:.0%}"


def bits(results: Sequence[Mapping]) -> str:
    """The best of each of the best three kinds of model; results: rows of metrics.json."""
    rows = [row for row in results if pd.notna(row.get("recovered_bits"))]
    if not rows:
        return "Recovered bits were not measured in this run"
    best = {row["model"]: row for row in sorted(rows, key=lambda row: row["recovered_bits"])}
    kinds = sorted(best.values(), key=lambda row: -row["recovered_bits"])[:3]
    reference = kinds[0]["reference_bits"]
    of = f" of {reference:.0f}" if pd.notna(reference) else ""
    told = [f"{name_of(row)} recovers {row['recovered_bits']:.0f}{of} bits" for row in kinds[:1]]
    return ", ".join(told + [f"{name_of(row)} {row['recovered_bits']:.0f}" for row in kinds[1:]])


def search(table: pd.DataFrame, name: str = "beam 5") -> str:
    """table: columns model, search, generated_accuracy and decode_ms; the search `name` is held against greedy's."""
    by = {search: part.set_index("model") for search, part in table.groupby("search")}
    slower = (by[name]["decode_ms"] / by["greedy"]["decode_ms"]).median()
    change = 100 * (by[name]["generated_accuracy"] - by["greedy"]["generated_accuracy"])
    told = ", ".join(f"{value:+.1f} ({model})" for model, value in change.items())
    return f"{name} takes {slower:.1f} times greedy's time; accuracy in points: {told}"


def probabilities(name: str, reconstructions: Sequence) -> str:
    """How sure a model was of its right and of its other pieces; reconstructions: as `reconstruct_texts` gives them."""
    pairs = [pair for r in reconstructions for pair in zip(r.marks, r.probabilities, strict=True)]
    right, other = ([p for mark, p in pairs if (mark == "right") == is_right] for is_right in (True, False))
    told = [f"{np.mean(p):.2f} {where}" for p, where in ((right, "where right"), (other, "elsewhere")) if p]
    return f"{len(right)} of {len(pairs)} pieces of {name} are right; its mean probability: {', '.join(told)}"


def vectors(vectors: np.ndarray, prefix: int | None) -> str:
    """vectors (N, D); prefix: how many of the D numbers are a hybrid's prefix."""
    if not prefix:
        return f"All that the decoder is given of a headline: {vectors.shape[1]} numbers"
    one, other = np.abs(vectors[:, :prefix]).mean(), np.abs(vectors[:, prefix:]).mean()
    told = (
        f"{one:.3f} in the {prefix} numbers of the prefix, {other:.3f} in the {vectors.shape[1] - prefix} of the code"
    )
    return f"Two parts: the mean size is {told}"


def code_layout(shares: Sequence[np.ndarray]) -> str:
    """shares: for each of two headlines, how many numbers of the code each of its pieces has."""
    spans = [f"{s.min()} to {s.max()}" if s.min() < s.max() else f"{s.min()}" for s in shares]
    told = [f"{span} in a headline of {len(s)} pieces" for span, s in zip(spans, shares, strict=True)]
    return f"Numbers of the code for one piece: {', '.join(told)}"


def queries(shares: Mapping[str, float]) -> str:
    """shares: at each stage, of the queries that look most at the token of their own place."""
    found = ", ".join(f"{share:.0%} {stage}" for stage, share in shares.items())
    return f"Queries that look most at their own token: {found}"


def lost(name: str, table: pd.DataFrame) -> str:
    """table: of `what_is_lost`, of the groups that are shown: by, group, share (right) and n."""
    told = []
    for by, part in table.groupby("by", sort=False):
        worst = part.loc[part["share"].idxmin()]
        told.append(f"{by} {worst['group']} ({1 - worst['share']:.1%})")
    return f"{name} errs most often: {', '.join(told)}"


def corner(points: pd.DataFrame) -> str:
    """points: columns label, exact_match and rank_correlation, those of packed_ids included."""
    inside = (points[["exact_match", "rank_correlation"]] >= 0.9).all(axis=1)
    control = points["label"].str.startswith("packed_ids")
    counts = [f"{int((inside & kind).sum())} of {int(kind.sum())}" for kind in (~control, control)]
    return f"0.9 or more in both: {counts[0]} learned models; {counts[1]} packed_ids, which learn nothing"
