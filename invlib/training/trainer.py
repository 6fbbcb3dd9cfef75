"""transformers' Trainer with this study's losses and time limit."""

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

from invlib.device import precision
from invlib.encoders.frozen import FrozenEncoder
from invlib.encoders.ranks import rank_of
from invlib.measures.intervals import ratio
from invlib.measures.scorers import bertscore
from invlib.measures.text import teacher_forced
from invlib.settings import Settings
from invlib.training.callbacks import Clock
from invlib.training.losses import nearest_pieces, reconstruction_loss, sent_sim_loss
from invlib.training.throughput import peak_share
from invlib.training.vector_noise import exchange_pieces, perturb

WARMUP = 100  # steps of a cosine schedule in which the rate rises


@contextmanager
def random_states_kept() -> Iterator[None]:
    """The Trainer seeds the generators of torch, numpy and Python: when the block ends, they are as they were."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def cosine_schedule(optimizer: torch.optim.Optimizer, progress: Callable[[], float]) -> LambdaLR:
    """A rate that rises in WARMUP steps and falls to 0 as progress() goes from 0 to 1."""

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * progress()))

    return LambdaLR(optimizer, rate)


class TimedTrainer(Trainer):
    """The Trainer under a clock; falling: a rate on a cosine over its steps, in place of the arguments' schedule."""

    def __init__(self, *args, clock: Clock, falling: bool, **kwargs):
        super().__init__(*args, **kwargs)
        self.clock, self.falling = clock, falling
        if clock.minutes and self.args.world_size > 1:  # each would stop at a step of its own
            raise ValueError(
                f"{self.args.world_size} processes can't be stopped after minutes: limit the steps instead"
            )

    def create_scheduler(self, num_training_steps, optimizer=None):
        if self.falling and self.lr_scheduler is None:
            self.lr_scheduler = cosine_schedule(optimizer or self.optimizer, self.progress)
        return super().create_scheduler(num_training_steps, optimizer)

    def progress(self) -> float:
        """How much of the training is over, 0 to 1: of its steps, or of a time limit where that will come first."""
        return min(1.0, max(self.state.global_step / max(self.state.max_steps, 1), self.clock.share))

    def throughput(self) -> dict:
        """What the training's record says of its speed: `tokens_seen` and `peak_share`, over all resumes."""
        share = peak_share(self.state.total_flos, self.clock.seconds, self.args.world_size)
        return {"tokens_seen": self.state.num_input_tokens_seen, "peak_share": share}


class InvertibleTrainer(TimedTrainer):
    """The Trainer with this study's losses, and teacher-forced figures for its evaluation."""

    def __init__(self, *args, settings: Settings, encoder: FrozenEncoder, clock: Clock, **kwargs):
        super().__init__(*args, clock=clock, falling=settings.schedule == "cosine", **kwargs)
        self.settings, self.encoder = settings, encoder
        words = encoder.word_embeddings
        self.hard_negatives = nearest_pieces(words, settings.hard_negatives) if settings.hard_negatives else None
        self.sent_sim: list[float] = []
        self.sent_sim_seconds = 0.0

    def _get_train_sampler(self, train_dataset=None):
        dataset = train_dataset or self.train_dataset
        # The same order in every process, whatever they drew: accelerate deals the batches out, so it is one replica's
        return DistributedLengthGroupedSampler(
            self.settings.batch_size, num_replicas=1, rank=0, seed=self.args.seed, lengths=dataset.lengths.tolist()
        )

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        s = self.settings
        moved = s.vector_noise or s.strongest_noise or s.previous_dropout or s.interpolation_noise_share
        # Within forward, which the Trainer's bfloat16 wraps: a pooling outside it would run in float32
        output = model(**inputs, move=self.moved if moved else None)
        model = self.accelerator.unwrap_model(model)  # its parts: several processes train a wrapped one
        loss = reconstruction_loss(model, output, s.sampled_negatives, self.hard_negatives)
        if s.sent_sim_weight and s.row != "no_vector" and self.state.global_step % s.sent_sim_every == 0:
            if self.args.device.type == "cuda":
                torch.cuda.synchronize()  # what is queued before is not this loss's time
            started = time.perf_counter()
            similarity = sent_sim_loss(model, self.encoder, inputs, s.sent_sim_size)
            self.sent_sim.append(similarity.item())
            loss = loss + s.sent_sim_weight * similarity
            self.sent_sim_seconds += 3 * (time.perf_counter() - started)  # estimated: the backward pass costs two more
        return (loss, output) if return_outputs else loss

    def moved(self, z: torch.Tensor, batch: dict) -> dict:
        """The batch with its vectors (B, D) moved as the settings say, and the pieces that its decoder reads.

        The share of far-off vectors grows: first the model learns what each number holds, then to do with less.
        """
        s, ids, mask = self.settings, batch["input_ids"], batch["attention_mask"]
        far = s.interpolation_noise_share * self.progress()
        vector = perturb(z.float(), s.vector_noise, far, batch["real"], s.strongest_noise)
        previous = exchange_pieces(ids, mask, s.previous_dropout) if s.previous_dropout else ids
        return {"input_ids": ids, "attention_mask": mask, "sentence_embedding": vector, "previous_ids": previous}

    def evaluate(self, ignore_keys=None):
        """Cross-entropy over all word pieces (nats a token) and next-token accuracy on the validation headlines."""
        with torch.autocast(self.args.device.type, torch.bfloat16, self.args.bf16):
            found = teacher_forced(self.model, self.eval_dataset, top_k=(1,))
        with self.clock.paused():
            bertscore_f1 = self.bertscore(found["sentence_embedding"])
        result = {
            "eval_loss": ratio(found["nats"], found["tokens"]),
            "eval_accuracy": ratio(found["hits_1"], found["tokens"]),
            "eval_bertscore_f1": bertscore_f1,
            "sent_sim_loss": float(np.mean(self.sent_sim)) if self.sent_sim else None,
            "sent_sim_seconds": self.sent_sim_seconds,
        }
        self.sent_sim = []
        self.log(result)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)
        return result

    def bertscore(self, vectors: np.ndarray) -> float | None:
        """Mean BERTScore of the first validation headlines, decoded freely from their vectors."""
        n = min(self.settings.bertscore_every_epoch, len(vectors))
        if not n or self.settings.row == "no_vector":
            return None
        decoded = self.model.decode(vectors[:n])
        reference = self.model.text(self.eval_dataset.ids(n))
        return float(bertscore(decoded, reference, self.settings.scorers).mean())


def training_arguments(
    settings, steps: int | None, work: Path, n: int, where: torch.device, **more
) -> TrainingArguments:
    """How the Trainer trains on n sentences an epoch, into `work`: at most so many steps, and at most the epochs.

    settings: seed, epochs, batch_size and rates. The best evaluation by eval_loss is kept, one an epoch; `more` are
    further TrainingArguments. Several processes share a batch: ValueError where it can't be shared evenly.
    """
    n_processes, an_epoch = rank_of()[1], -(-n // settings.batch_size)
    if settings.batch_size % n_processes:
        raise ValueError(
            f"batch_size {settings.batch_size} can't be shared by {n_processes} processes; change --nproc-per-node"
        )
    more = {"eval_strategy": "epoch", "save_strategy": "epoch"} | more
    args = TrainingArguments(
        output_dir=str(work), seed=settings.seed, num_train_epochs=settings.epochs,
        max_steps=steps if steps and steps < settings.epochs * an_epoch else -1,
        per_device_train_batch_size=settings.batch_size // n_processes, learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay, optim="adamw_torch_fused", max_grad_norm=1.0,
        save_total_limit=2, load_best_model_at_end=True,
        metric_for_best_model="eval_loss", greater_is_better=False,
        logging_steps=min(50, an_epoch),
        bf16=precision(where) == torch.bfloat16, use_cpu=where.type == "cpu",
        dataloader_pin_memory=where.type == "cuda",
        dataloader_num_workers=min(8, torch.get_num_threads()) if where.type == "cuda" else 0,
        ddp_find_unused_parameters=False,  # else what only the loss reads, outside forward, counts as unused
        restore_callback_states_from_checkpoint=True, disable_tqdm=True, report_to="none", **more,
    )  # fmt: skip
    args._n_gpu = 1  # else two visible cards wrap the model and double the batch in silence
    return args


def stopped_by(trainer: TimedTrainer) -> str:
    """What ended a training: "time", "steps", "epochs", or "plateau" where validation no longer got better."""
    if trainer.clock.out_of_time:
        return "time"
    if trainer.state.global_step < trainer.state.max_steps:
        return "plateau"
    return "steps" if trainer.args.max_steps > 0 else "epochs"
