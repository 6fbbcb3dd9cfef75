"""The network of the project's own language model: a GPT-NeoX over the encoder's word pieces, and how it starts."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from invlib.device import device
from invlib.encoders.frozen import FrozenEncoder
from invlib.language_models.frozen import FrozenLM
from invlib.settings import Settings


@dataclass(frozen=True)
class LanguageModelSettings:
    """The shape of the project's own language model, and how it is trained."""

    width: int = 512  # H, which is also the size of a crammed vector
    n_layer: int = 3
    head_size: int = 32
    block: int = 256  # tokens of a packed block, the longest context in training
    n_positions: int = 512  # room for the vectors and for a longer text than a block
    max_length: int = 40  # a training headline is cut here, [CLS] and [SEP] included
    epochs: int = 40
    steps: int | None = None  # at most this many; the learning rate falls to 0 over them
    minutes: float | None = None  # a time limit
    stop_patience: int = 2  # epochs without a better validation loss before training stops
    batch_size: int = 4  # blocks a step
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    weight_gain: float = 1.0  # standard deviation of the starting weights, over the root of a layer's inputs
    query_bias_std: float = 4.0
    input_std: float = 4e-4  # standard deviations of the two frozen word tables
    output_std: float = 0.16
    parallel_residual: bool = False  # True: a layer's MLP does not read its attention's output
    rope_theta: float = 100.0
    sampled_negatives: int = 3000  # random word pieces in the training loss beside the batch's own; 0 = all
    n_validation: int | None = 1000  # headlines measured after each epoch; None = all
    seed: int = 0
    variant: str | None = None

    @property
    def name(self) -> str:
        return f"lm_{self.width}" + (f"_{self.variant}" if self.variant else "")


def language_model_settings(settings: Settings) -> list[LanguageModelSettings]:
    """The settings of a run's own language models, one for each of `lm_widths`; the first is the main one."""
    return [
        LanguageModelSettings(
            width=width, max_length=settings.max_length, n_positions=max(512, settings.max_length),
            steps=settings.lm_steps, minutes=settings.minutes, seed=settings.seed, n_validation=settings.n_validation,
            sampled_negatives=settings.sampled_negatives,
        )
        for width in settings.lm_widths
    ]  # fmt: skip


def fresh_model(settings: LanguageModelSettings, encoder: FrozenEncoder) -> GPTNeoXForCausalLM:
    """An untrained GPT-NeoX over the encoder's word pieces, drawn from the settings' seed.

    Its start is chosen so that one input vector can change its predictions. torch's own generator stays as it was.
    ValueError where the width is no multiple of head_size.
    """
    if settings.width % settings.head_size:
        raise ValueError(
            f"a language model {settings.width} wide can't have heads of {settings.head_size}; give a multiple of that"
        )
    config = GPTNeoXConfig(
        vocab_size=encoder.vocab_size, hidden_size=settings.width, num_hidden_layers=settings.n_layer,
        num_attention_heads=settings.width // settings.head_size, intermediate_size=4 * settings.width,
        max_position_embeddings=settings.n_positions, bos_token_id=encoder.bos_token_id,
        eos_token_id=encoder.eos_token_id, pad_token_id=encoder.pad_token_id, use_cache=True,
        use_parallel_residual=settings.parallel_residual,
        rope_parameters={
            "rope_type": "default", "rope_theta": settings.rope_theta, "partial_rotary_factor": 1.0
        },
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        model = GPTNeoXForCausalLM(config)
        init_layers(model, settings.weight_gain, settings.query_bias_std)
    init_tables(model, encoder.word_embeddings.float().cpu(), settings.input_std, settings.output_std)
    return model


@torch.no_grad()
def init_layers(model: GPTNeoXForCausalLM, weight_gain: float, query_bias_std: float) -> None:
    """Start the layers so that one vector before a text can change the prediction at each position.

    Weights of standard deviation weight_gain / sqrt(inputs): a layer's output is about as large as its input, and
    attention prefers some positions. The queries' bias is the same part of each query, whatever its token. The rotary
    embedding turns it by the position, so that it meets the vector's one key at another angle at each position: each
    head reads more or less of the vector there. Only so can one vector stand for different tokens at each position.
    """
    for layer in model.gpt_neox.layers:
        for linear in (m for m in layer.modules() if isinstance(m, torch.nn.Linear)):
            linear.weight.normal_(0, weight_gain * linear.in_features**-0.5)
        heads = layer.attention.query_key_value.bias.view(model.config.num_attention_heads, 3, -1)
        heads[:, 0].normal_(0, query_bias_std)


@torch.no_grad()
def init_tables(model: GPTNeoXForCausalLM, words: Tensor, input_std: float, output_std: float) -> None:
    """Make the model's two tables the encoder's word embeddings, (V, H), reduced to its width, and freeze them.

    They are the embeddings' first principal components; a wider model's further columns stay random, with the same
    standard deviation. The input's are small, so that the layers' outputs count for more than the current token; the
    output's are large, so that a state can make one token much more likely than the rest. Frozen: a few hundred steps
    are too few to learn 30 522 words, and a step is shorter.
    """
    centred = words - words.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
    components = centred @ axes[:, : model.config.hidden_size]
    tables = (model.get_input_embeddings().weight, input_std), (model.get_output_embeddings().weight, output_std)
    for table, std in tables:
        table[:, : components.shape[1]] = components / components.std() * table.std()
        table *= std / table.std()
        table.requires_grad_(False)


def untrained_language_model(settings: LanguageModelSettings, encoder: FrozenEncoder) -> FrozenLM:
    """The control: the network before its training. Its layers have read no text; its words are the encoder's."""
    return FrozenLM(f"{settings.name}, untrained", fresh_model(settings, encoder).to(device()), encoder.tokenizer)
