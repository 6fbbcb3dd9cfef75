"""How fast are sentences made into vectors?

Against SentenceTransformer.encode: the same encoder, dtype and texts.
"""

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.common import compare, headlines, write
from invlib.device import precision
from invlib.encoders.frozen import load_encoder
from invlib.encoders.hub import hub_folder, quiet_loading

N, BATCH = 1000, 128


def main() -> None:
    texts, source = headlines(N)
    encoder, exact, lines = load_encoder("minilm"), None, []
    dtypes = [torch.float32] + [torch.bfloat16] * (precision(torch.device("cpu")) == torch.bfloat16)
    for dtype in dtypes:
        with quiet_loading():
            theirs = SentenceTransformer(hub_folder("minilm"), device="cpu", model_kwargs={"dtype": dtype})
        kind, found = str(dtype).removeprefix("torch."), encoder.sentence_embedding(texts, dtype=dtype)
        exact = found if exact is None else exact
        lines.append(compare(
            f"sentence_embedding, {kind}", lambda d=dtype: encoder.sentence_embedding(texts, batch_size=BATCH, dtype=d),
            f"SentenceTransformer.encode, {kind}, batches of {BATCH}",
            lambda t=theirs: t.encode(texts, batch_size=BATCH, show_progress_bar=False),
            n=len(texts), pairs=5, lowest_cosine_to_float32=float((found * exact).sum(1).min()),
        ))  # fmt: skip
    if len(dtypes) == 2:
        lines.append(compare(
            "sentence_embedding, bfloat16", lambda: encoder.sentence_embedding(texts, dtype=torch.bfloat16),
            "sentence_embedding, float32", lambda: encoder.sentence_embedding(texts, dtype=torch.float32),
            n=len(texts),
        ))  # fmt: skip
    write("encode", "How fast are sentences made into vectors?", lines, headlines=source)


if __name__ == "__main__":
    main()
