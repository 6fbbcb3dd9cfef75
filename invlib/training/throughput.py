"""How fast a training was: word pieces a second, and the share that it used of what its card can compute."""

import torch

PEAK = {  # multiplications and additions a second in bfloat16, dense, of a card whose name has these words: data sheets
    "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200 NVL": 835e12, "H200": 989e12, "A100": 312e12,
    "L40S": 362e12, "L40": 181e12, "L4": 121e12, "RTX 4090": 165e12,
}  # fmt: skip


def peak_share(operations: float, seconds: float, cards: int = 1) -> float | None:
    """The share of its cards' peak that a training reached, 0 to 1; None on a CPU or on a card that PEAK lacks.

    operations: of a whole training, as transformers' Trainer counts them: six for each parameter and word piece
    (Kaplan et al., "Scaling Laws for Neural Language Models", section 2.1), embeddings left out.
    """
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((value for words, value in PEAK.items() if words in name), None)
    return operations / (seconds * cards * peak) if peak and seconds else None
