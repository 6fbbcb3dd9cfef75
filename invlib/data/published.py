"""Figures of others' systems that this study's are shown beside, each with its source."""

# DeepSC (Xie, Qin, Li and Juang, "Deep Learning Enabled Semantic Communication Systems", 2021, arXiv 2006.10685):
# signal-to-noise ratio in dB -> BLEU-1 on the Europarl corpus, whose texts are longer, at 16 real numbers a WORD, where
# a vector of this study has one fixed size a headline. White Gaussian noise; read off a figure of the paper.
DEEPSC_BLEU_1 = {0: 0.61, 3: 0.82, 6: 0.885, 9: 0.905, 12: 0.91, 18: 0.92}
DEEPSC_NUMBERS_A_WORD = 16
