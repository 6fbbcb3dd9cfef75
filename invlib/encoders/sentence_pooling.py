"""An encoder's own sentence embedding: the modules that its folder lists after the transformer.

Source: sentence-transformers (Reimers & Gurevych, "Sentence-BERT", 2019), whose modules.json names them.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from invlib.paths import read_json

DEFAULT = "mean, normalized"  # of the embedded encoder and most others
MODULES = ("Pooling", "Normalize", "Dense", "LayerNorm", "Dropout")  # what may follow the transformer
MODES = ("cls", "max", "mean")  # poolings that need no import of sentence-transformers, which takes 8 seconds
LEGACY = "pooling_mode_cls_token", "pooling_mode_max_tokens", "pooling_mode_mean_tokens"


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


def mean_pooling(token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of the unmasked token states scaled to length 1, (B, T, H) -> (B, H)."""
    return nn.functional.normalize(pool_tokens(token_embeddings, attention_mask), dim=-1)


class TokenPooling(nn.Module):
    """`pool_tokens` as a module of sentence-transformers: it adds sentence_embedding to the features."""

    def __init__(self, mode: str = "mean"):
        super().__init__()
        self.mode = mode

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        pooled = pool_tokens(features["token_embeddings"], features["attention_mask"], self.mode)
        return {**features, "sentence_embedding": pooled}


class Normalized(nn.Module):
    """Scales sentence_embedding to length 1."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**features, "sentence_embedding": nn.functional.normalize(features["sentence_embedding"], dim=-1)}


def load_modules(folder: str | Path, name: str = "") -> tuple[nn.Sequential, dict]:
    """What follows the transformer in an encoder's folder, and the transformer's settings with its `path`.

    The modules map {token_embeddings (B, T, H), attention_mask (B, T)} to the same with sentence_embedding (B, S). A
    folder without modules.json has the mean alone, as sentence-transformers gives it. ValueError, with `name`, for an
    encoder whose embedding would not be what `SentenceTransformer(folder).encode` gives.
    """
    folder = Path(folder)
    if not (folder / "modules.json").exists():
        return nn.Sequential(TokenPooling()), {"path": ""}
    first, *rest = read_json(folder / "modules.json")
    kinds = [entry["type"].rpartition(".")[2] for entry in (first, *rest)]
    own = [entry["type"] for entry in (first, *rest) if not entry["type"].startswith("sentence_transformers.")]
    unknown = own or [kind for kind in kinds[1:] if kind not in MODULES]
    if kinds[0] != "Transformer" or unknown or "Pooling" not in kinds:
        raise ValueError(
            f"encoder {name!r} is made of {', '.join(own or kinds)}; this workbook can use a Transformer, then Pooling "
            f"and any of {', '.join(MODULES[1:])}; choose another encoder"
        )
    settings = {}
    for path in sorted((folder / first["path"]).glob("sentence_*_config.json"))[:1]:
        settings = read_json(path)
    text = (settings.get("modality_config") or {}).get("text", {}).get("method_output_name", "last_hidden_state")
    produced = settings.get("module_output_name", "token_embeddings")
    if (text, produced) != ("last_hidden_state", "token_embeddings"):
        raise ValueError(f"encoder {name!r} gives {produced!r} from {text!r}, not its last states; choose another")
    path = folder / "config_sentence_transformers.json"
    saved = read_json(path) if path.exists() else {}
    if prompt := (saved.get("prompts") or {}).get(saved.get("default_prompt_name")):
        raise ValueError(
            f"encoder {name!r} writes {prompt!r} before every sentence, and this workbook encodes sentences as they "
            "are; choose another encoder, or take default_prompt_name out of config_sentence_transformers.json"
        )
    modules = [load_module(folder, entry["path"], kind) for entry, kind in zip(rest, kinds[1:], strict=True)]
    return nn.Sequential(*modules).eval().requires_grad_(False), {**settings, "path": first["path"]}


def load_module(folder: Path, path: str, kind: str) -> nn.Module:
    """One module: the plain poolings and Normalize of our own, any other sentence-transformers' own."""
    config = read_json(folder / path / "config.json") if (folder / path / "config.json").exists() else {}
    if kind == "Normalize" and {*config.values()} <= {"sentence_embedding"}:
        return Normalized()
    if kind == "Pooling":
        active = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
        mode = config.get("pooling_mode", "mean" if not active else None)
        if len(active) == 1 and mode is None and active[0] in LEGACY:
            mode = MODES[LEGACY.index(active[0])]
        if mode in MODES:
            return TokenPooling(mode)
    from sentence_transformers.sentence_transformer import modules

    return getattr(modules, kind).load(str(folder), subfolder=path)


def describe(modules: nn.Sequential) -> str:
    """The modules in words: 'mean, normalized', 'cls', 'max, Dense 32 to 16, normalized'."""
    words = []
    for module in modules:
        kind = type(module).__name__
        if kind in ("Normalized", "Normalize"):
            words.append("normalized")
        elif kind == "Dense":
            activation = type(module.activation_function).__name__
            words.append(f"Dense {module.in_features} to {module.out_features} ({activation})")
        elif mode := getattr(module, "mode", None) or getattr(module, "pooling_mode", None):
            words.append(mode if isinstance(mode, str) else "+".join(mode))
        elif kind != "Dropout":  # which does nothing in evaluation
            words.append(kind)
    return ", ".join(words)
