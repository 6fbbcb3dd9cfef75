"""How fast is an epoch of training of att_pool_768?

Against the plain way: the encoder in the loop, float32, every headline padded to max_length, the logits of padding
computed too, over all word pieces, plain AdamW. Both start from the same weights, see each headline once, at the same
rates; the cross-entropy of other headlines after it, in nats a word piece, is that of the last pair.
"""

import dataclasses
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.nn import functional as F
from transformers import EarlyStoppingCallback
from transformers.trainer_utils import IntervalStrategy

from benchmarks.common import compare, headlines, write
from invlib.encoders.frozen import load_encoder
from invlib.encoders.material import Material
from invlib.encoders.token_states import token_states
from invlib.measures.intervals import ratio
from invlib.measures.text import teacher_forced
from invlib.models.model import build_model
from invlib.settings import load_preset, select_row
from invlib.training.train import build_trainer
from invlib.training.trainer import cosine_schedule

N, HELD_OUT = 640, 128


def ours(settings, material: Material, folder: Path):
    """The Trainer of the study, without its evaluation and its checkpoints."""
    trainer, _ = build_trainer(settings, folder, material, folder)
    trainer.args.eval_strategy = trainer.args.save_strategy = IntervalStrategy.NO
    trainer.args.load_best_model_at_end = False
    trainer.remove_callback(EarlyStoppingCallback)  # which evaluates
    trainer.train()
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return trainer.model


def plain(settings, material: Material):
    s, encoder, device = settings, material.encoder, torch.device("cpu")
    torch.manual_seed(s.seed)
    model = build_model(s, encoder).to(device).train()
    model.decoder.vocabulary.start_at_frequencies(material.label_counts())
    ids = material.dataset("train").ids()
    order = torch.randperm(len(ids)).split(s.batch_size)
    optimizer, done = torch.optim.AdamW(model.parameters(), s.learning_rate, weight_decay=s.weight_decay), [0]
    rate = cosine_schedule(optimizer, lambda: done[0] / len(order)) if s.schedule == "cosine" else None
    for rows in order:
        batch = encoder.pad([ids[k] for k in rows.tolist()])
        batch = {name: F.pad(value, (0, s.max_length - value.shape[1])) for name, value in batch.items()}
        batch["token_embeddings"] = encoder.token_embeddings(**batch, dtype=torch.float32)
        states = model.decoder.decode_states(model.pool(batch), batch["input_ids"][:, :-1])
        labels = batch["input_ids"][:, 1:].masked_fill(batch["attention_mask"][:, 1:] == 0, -100)
        F.cross_entropy(model.logits(states).flatten(0, 1), labels.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        done[0] += 1
        if rate is not None:
            rate.step()
    return model


def main() -> None:
    texts, source = headlines(N + HELD_OUT)
    encoder, trained = load_encoder("minilm"), {}
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": texts[:N], "validation": texts[N:]}
        states = {k: token_states(encoder, v, 40, cache=folder, progress=False) for k, v in parts.items()}
        material = Material(SimpleNamespace(source=source), encoder, states)
        settings = select_row(load_preset("cpu"), "att_pool_768")
        settings = dataclasses.replace(
            settings, steps=-(-N // settings.batch_size), sent_sim_weight=0.0
        )  # fmt: skip
        line = compare(
            f"{N} headlines", lambda: trained.update(ours=ours(settings, material, Path(folder))),
            "the encoder in the loop, float32, padded to max_length, all logits",
            lambda: trained.update(theirs=plain(settings, material)), n=N, pairs=2, warm=False,
        )  # fmt: skip
        found = {way: teacher_forced(model, material.dataset("validation"), top_k=(1,))
                 for way, model in trained.items()}  # fmt: skip
        line["loss"] = {way: ratio(arrays["nats"], arrays["tokens"]) for way, arrays in found.items()}
    write("epoch", "How fast is an epoch of training of att_pool_768?", [line], headlines=source)


if __name__ == "__main__":
    main()
