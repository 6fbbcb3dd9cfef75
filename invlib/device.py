"""Where models compute: the device, its number format, and what a CPU takes for 0."""

import torch

# Numbers below 1e-38 count as 0: a well-trained model's softmax is full of them, and with them a step takes a CPU eight
# times as long. Threads that torch starts later do as this one.
torch.set_flush_denormal(True)


def device() -> torch.device:
    """The one place that chooses: CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def precision(where: torch.device) -> torch.dtype:
    """bfloat16 where the device has it in hardware, else float32; float16 never."""
    if where.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if where.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32
