"""Everything that is typed from the slide deck: its headlines, its examples, its results."""

import pandas as pd

DECK = pd.DataFrame(  # the slide deck's own results: teacher-forced accuracy, BERTScore with deberta-xlarge-mnli
    [
        ("rnn", 768, None, None),
        ("encoder_only", 1568, 0.357, None),
        ("cls_decoder", 768, 0.406, 0.58),
        ("att_pool", 768, 0.502, 0.65),
        ("att_pool", 2560, 0.552, 0.675),
    ],
    columns=["model", "embedding_dim", "accuracy", "bertscore_f1"],
)
DECK_EXAMPLES = [  # (input, what the deck's model decoded)
    (
        "consumer giants spurn risks to chase online subscribers",
        "consumer giants spurn consumer risks to online subscribers",
    ),
    (
        "t - mobile beats estimates for phone subscribers'",
        "t - mobile beats estimates for phone subscribers",
    ),
    (
        "wall street falls as u. s. - china tariffs kick in",
        "wall street falls as u. s. - china tariffs kick in",
    ),
    (
        "bayer says monsanto likely kept files on influential people across europe",
        "bayer says monsanto likely put on some countries sick people in europe",
    ),
    (
        "wall street rises on economic data, easing trade worries",
        "wall street rises on trade worries, fed data data",
    ),
    (
        "uber offers to share journey data with london city planners",
        "uber reveals plans to data with london property",
    ),
]
DECK_HEADLINES = [
    "U.S. economy faces significant risks, long road to recovery: IMF staff.",
    "UBS, Morgan Stanley expected to lead Vodafone Tower IPO: sources.",
    "As big U.S. banks let customers delay payments, loan losses remain unclear.",
    "China says it will act to protect its interests after UK Huawei ban.",
    *[given for given, _ in DECK_EXAMPLES],
]
