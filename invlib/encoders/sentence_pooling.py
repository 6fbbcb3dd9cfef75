"""An encoder's own sentence embedding, as the modules say that its folder lists after the transformer.

Source: sentence-transformers (Reimers & Gurevych, "Sentence-BERT", 2019), whose modules.json names them.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from invlib.paths import read_json

DEFAULT = "mean, normalized"  # of the embedded encoder and most others
MODES = ("cls", "max", "mean")


def pool_tokens(token_embeddings: Tensor, attention_mask: Tensor, mode: str = "mean") -> Tensor:
    """The first state, or each number's largest or mean value over the unmasked states; (B, T, H) -> (B, H).

    mode: cls, max or mean, else ValueError. attention_mask (B, T): 1 for tokens, then 0 for padding.
    """
    mask = attention_mask.unsqueeze(-1).to(token_embeddings.dtype)
    if mode == "cls":
        return token_embeddings[:, 0]
    if mode == "max":
        return token_embeddings.masked_fill(mask == 0, -torch.inf).amax(1)
    if mode == "mean":
        return (token_embeddings * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    raise ValueError(f"unknown pooling of token states {mode!r}; choose {', '.join(MODES)}")


def read_pooling(folder: str | Path, name: str = "") -> tuple[str, int | None]:
    """'cls', 'max' or 'mean', with ', normalized' where the length is 1; and the most word pieces it is to read.

    A folder without modules.json has the mean alone and no such limit, as in sentence-transformers. ValueError, with
    `name`, for an encoder whose embedding would not be what `SentenceTransformer(folder).encode` gives.
    """
    folder = Path(folder)
    if not (folder / "modules.json").exists():
        return "mean", None

    def read(file: str) -> dict:
        return next(map(read_json, folder.glob(file)), {})

    entries = read_json(folder / "modules.json")
    kinds = [re.sub(r"^sentence_transformers\.(\w+\.)*", "", entry["type"]) for entry in entries]
    transformer, saved = read("sentence_*_config.json"), read("config_sentence_transformers.json")
    pooling = read(f"{entries[1]['path'] or '.'}/config.json") if len(entries) > 1 else {}
    flags = [re.match("pooling_mode_(.+?)(?:_tokens?)?$", key) for key, on in pooling.items() if on is True]  # older
    modes = pooling.get("pooling_mode") or [flag[1] for flag in flags if flag] or "mean"
    mode = modes if isinstance(modes, str) else "+".join(modes)
    prompt = (saved.get("prompts") or {}).get(saved.get("default_prompt_name"))
    plain = ["Transformer", "Pooling"]
    refused = {
        f"is made of {', '.join(kinds)}": kinds not in (plain, [*plain, "Normalize"]),
        f"keeps its transformer in the folder {entries[0]['path']!r}": entries[0]["path"],
        f"pools its token states by {mode}": mode not in MODES,
        f"writes {prompt!r} before every sentence (default_prompt_name)": prompt,
        "lowers the case before its tokenizer reads a sentence (do_lower_case)": transformer.get("do_lower_case"),
    }
    for reason, holds in refused.items():
        if holds:
            raise ValueError(
                f"encoder {name!r} {reason}; this workbook can use a Transformer that reads sentences as they are, "
                f"then Pooling ({', '.join(MODES)}), with Normalize or without; choose another encoder"
            )
    return mode + ", normalized" * len(kinds[2:]), transformer.get("max_seq_length")
