"""The device and precision that models compute with, and what a CPU takes for 0."""

import torch

from invlib.device import device, precision


def test_device_prefers_cuda_then_mps_then_the_cpu(monkeypatch):
    for cuda, mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert device().type == expected


def test_precision_is_bfloat16_or_float32_never_float16(monkeypatch):
    for supported, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda s=supported: s)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        assert precision(torch.device("cuda")) == expected
        assert precision(torch.device("cpu")) == expected
    assert precision(torch.device("mps")) == torch.float32


def test_numbers_below_the_smallest_normal_one_count_as_zero():
    """On a CPU they slow a well-trained model's training down several times; in torch's other threads too."""
    tiny = torch.full((1 << 20,), 1e-39)
    assert not (tiny * 1.0).any()
