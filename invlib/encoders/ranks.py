"""The processes that `torchrun` starts: which one this is, and what they do together. Without it one, of rank 0."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def joined() -> Iterator[None]:
    """Inside, torchrun's processes are one group: over NCCL with a card for each, else over gloo."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    cards = torch.cuda.is_available()
    if cards:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cards else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank_of() -> tuple[int, int]:
    """This process's rank, and how many processes there are."""
    together = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if together else (0, 1)


def is_first() -> bool:
    """Whether this process is rank 0, the only one that writes."""
    return rank_of()[0] == 0


def wait_for_all() -> None:
    """Returns when every process is here."""
    if rank_of()[1] > 1:
        dist.barrier()


def of_first(value):
    """Rank 0's value, in every process."""
    values = [value]
    if rank_of()[1] > 1:
        dist.broadcast_object_list(values, src=0)
    return values[0]


def at_first(value) -> list:
    """Every process's value, by rank, in rank 0; [] in the others."""
    rank, n = rank_of()
    if n == 1:
        return [value]
    values = [None] * n if rank == 0 else None
    dist.gather_object(value, values, dst=0)
    return values or []
