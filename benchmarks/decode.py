"""How fast are vectors decoded greedily? Against transformers' `generate` in the order of arrival, batches of 64.

The ids are compared too: the two ways differ in time alone.
"""

from functools import partial

from benchmarks.common import compare, headlines, write
from invlib.models.codec import split, until_end
from invlib.models.generation import searched
from invlib.models.model import InvertibleSentenceModel

N, BATCH, ALONE = 1000, 64, 10


def by_generate(model, z) -> list[list[int]]:
    """transformers' `generate` on each batch until its longest text ends."""
    found = [row for part in split(model.as_tensor(z), BATCH) for row in searched(model, 1, {}, part).tolist()]
    return [until_end(row, model.config.eos_token_id) for row in found]


def one_by_one(decode, z) -> list[list[int]]:
    return [decode(z[k : k + 1])[0] for k in range(len(z))]


def main() -> None:
    texts, source = headlines(N)
    model = InvertibleSentenceModel.from_pretrained("hybrid_384_long")
    z, theirs = model.encode(texts), partial(by_generate, model)
    equal = sum(a == b for a, b in zip(model.generate_ids(z), theirs(z), strict=True))
    name = f"generate in the order of arrival, batches of {BATCH}"
    lines = [
        compare(f"{len(z)} vectors", lambda: model.generate_ids(z), name, lambda: theirs(z), n=len(z),
                warm=False, equal_ids=equal),
        compare("one vector at a time", lambda: one_by_one(model.generate_ids, z[:ALONE]), "generate, one at a time",
                lambda: one_by_one(theirs, z[:ALONE]), n=ALONE, pairs=5),
    ]  # fmt: skip
    write("decode", "How fast are vectors decoded greedily?", lines, headlines=source)


if __name__ == "__main__":
    main()
