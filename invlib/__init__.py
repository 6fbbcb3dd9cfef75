"""invlib: the support package of the workbook "Invertible sentence embeddings".

The modules in the order of the flow: data -> encoders -> pooling -> decoders -> model -> losses, metrics, scorers ->
training -> controls -> evaluation -> report -> plots. No module reaches back.
"""

__version__ = "0.1.0"
