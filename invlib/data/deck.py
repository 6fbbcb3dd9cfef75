"""Everything that is typed from the slide deck: its headlines, its examples, its results."""

import pandas as pd

DECK = pd.DataFrame(  # the slide deck's own results: teacher-forced accuracy, BERTScore with deberta-xlarge-mnli
    [("rnn", 768, None, None), ("encoder_only", 1568, 0.357, None), ("cls_decoder", 768, 0.406, 0.58),
     ("att_pool", 768, 0.502, 0.65), ("att_pool", 2560, 0.552, 0.675)],
    columns=["model", "embedding_dim", "accuracy", "bertscore_f1"],
)  # fmt: skip
DECK_PARAMETERS = {"att_pool_768": 38.5, "att_pool_2560": 214}  # trainable, millions
DECK_FROZEN_PARAMETERS = 109  # millions, of BERT base
DECK_TOP_K = {  # D: share of the headlines' pieces that are among the k most likely, k = 1, 3, 5, 10, 15, 25, 50, 100
    768: (0.50, 0.63, 0.68, 0.73, 0.75, 0.78, 0.81, 0.84),
    2560: (0.55, 0.68, 0.72, 0.77, 0.79, 0.81, 0.84, 0.86),
}
DECK_PARAPHRASE = {"greedy": 0.64, "beam": 0.71}  # paraphrase-mpnet-base-v2; the deck does not give the beam's width
DECK_BERTSCORE_PAIRS = [  # (sentence, other sentence, their BERTScore F1 with deberta-xlarge-mnli)
    ("The car was damaged in the accident.", "The vehicle got wrecked during the crash.", 0.91),
    ("The economy is growing rapidly.", "My dog loves running in the park.", 0.35),
]
DECK_EXAMPLES = [  # (input, what the deck's model decoded)
    ("consumer giants spurn risks to chase online subscribers",
     "consumer giants spurn consumer risks to online subscribers"),
    ("t - mobile beats estimates for phone subscribers'",
     "t - mobile beats estimates for phone subscribers"),
    ("wall street falls as u. s. - china tariffs kick in",
     "wall street falls as u. s. - china tariffs kick in"),
    ("bayer says monsanto likely kept files on influential people across europe",
     "bayer says monsanto likely put on some countries sick people in europe"),
    ("wall street rises on economic data, easing trade worries",
     "wall street rises on trade worries, fed data data"),
    ("uber offers to share journey data with london city planners",
     "uber reveals plans to data with london property"),
]  # fmt: skip
DECK_HEADLINES = [
    "U.S. economy faces significant risks, long road to recovery: IMF staff.",
    "UBS, Morgan Stanley expected to lead Vodafone Tower IPO: sources.",
    "As big U.S. banks let customers delay payments, loan losses remain unclear.",
    "China says it will act to protect its interests after UK Huawei ban.",
    *[given for given, _ in DECK_EXAMPLES],
]
