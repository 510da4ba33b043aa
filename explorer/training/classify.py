"""The old address of explorer.evaluation.predict, for scripts of version 0.1."""

from explorer.evaluation.predict import (
    Evaluation,
    Predictions,
    class_names_of,
    evaluate,
    predict,
    write_predictions,
)

__all__ = ["Evaluation", "Predictions", "class_names_of", "evaluate", "predict", "write_predictions"]
