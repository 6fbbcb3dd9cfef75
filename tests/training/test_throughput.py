"""The share of a card's peak: of the known cards alone, over all cards together."""

import pytest

from invlib.training import throughput
from invlib.training.throughput import peak_share


@pytest.fixture
def card(monkeypatch):
    """card(name): torch finds this card."""

    def named(name: str) -> None:
        monkeypatch.setattr(throughput.torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(throughput.torch.cuda, "get_device_name", lambda: name)

    return named


@pytest.mark.parametrize("name, peak", [
    ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA L40S", 362e12), ("NVIDIA L4", 121e12),
])  # fmt: skip
def test_half_of_a_cards_peak(card, name, peak):
    card(name)
    assert peak_share(peak * 5, seconds=10) == pytest.approx(0.5)
    assert peak_share(peak * 5, seconds=10, cards=2) == pytest.approx(0.25)


def test_what_is_not_known_is_none(card, monkeypatch):
    card("NVIDIA GeForce GT 1030")
    assert peak_share(1e12, 10) is None
    monkeypatch.setattr(throughput.torch.cuda, "is_available", lambda: False)
    assert peak_share(1e12, 10) is None
