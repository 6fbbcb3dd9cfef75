"""Figures of others' systems that this study's are shown beside, each with its source."""

import pandas as pd

# DeepSC (Xie, Qin, Li and Juang, "Deep Learning Enabled Semantic Communication Systems", 2021, arXiv 2006.10685):
# signal-to-noise ratio in dB -> BLEU-1 on the Europarl corpus, whose texts are longer, at 16 real numbers a WORD, where
# a vector of this study has one fixed size a headline. White Gaussian noise; read off a figure of the paper.
DEEPSC_BLEU_1 = {0: 0.61, 3: 0.82, 6: 0.885, 9: 0.905, 12: 0.91, 18: 0.92}
DEEPSC_NUMBERS_A_WORD = 16

# Texts read back from an encoder's own vector: other encoders, other texts, other machines, so never in one column with
# this study's. first_bleu: the inverter's likeliest text; bleu and exact: with all that the system has.
INVERSION = pd.DataFrame(
    [
        ("vec2text (Morris et al., 2023, arXiv 2310.06816)", "GTR-base", 768, "32 tokens, the training domain",
         31.9, 97.3, 0.92, "50 rounds, beam 8 (second hand); 8.1 s a text on an H100"),
        ("vec2text, rerun by a user", "GTR-base", 768, "32 tokens, the training domain",
         None, 83.3, 0.58, "20 rounds"),
        ("vec2text-qwen3-fr (AlexandreFenyo, 2026)", "Qwen3-Embedding 0.6B", 1024, "French, at most 32 tokens",
         24.8, 72.4, 0.48, "10 rounds of 8; 2.6 s a text on an RTX 5090"),
        ("lmgist: a frozen Llama 1B behind an MLP", "all-MiniLM-L6-v2", 384, "queries of 5 to 10 tokens",
         31.0, None, None, "one pass; BLEU about 31 to 34"),
    ],
    columns=["system", "encoder", "numbers", "texts", "first_bleu", "bleu", "exact", "how"],
)  # fmt: skip
