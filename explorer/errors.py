"""Every error that a person can cause or mend: pages and the command line show its one sentence, never a traceback."""


class ExplorerError(Exception):
    """Base of all errors for bad input; its message says what was expected, what came and what to do."""


class ImageError(ExplorerError):
    """An image that can't be read, or that a model can't take."""


class ModelError(ExplorerError):
    """A model that can't be found, downloaded or built."""


class CheckpointError(ModelError):
    """A weights file that can't be read, or whose tensors don't fit the model."""


class UnsupportedModelError(ModelError):
    """A model whose attention isn't a plain softmax(QK^T) over all tokens, so that no true map can be drawn."""


class RecordingError(ExplorerError):
    """A recording that failed its self-check, or that the model's forward pass made impossible."""


class QueryError(ExplorerError, ValueError):
    """A layer, head, query or setting outside what the recording holds."""


class SizeError(ImageError, QueryError):
    """An input size or a fit that a model can't take, whatever the photo."""


class DataError(ExplorerError):
    """A data set, archive or folder that can't be used."""


class DiskError(DataError):
    """A disk that is full or can't be written to; nothing is wrong with the data."""


class RoomError(DiskError):
    """A visitor's share of the disk that is used up."""


class PlanError(ExplorerError, ValueError):
    """A fine-tuning plan with unknown or impossible settings."""


class TrainingError(ExplorerError):
    """A training job that failed; its earlier checkpoints are intact."""


class VideoError(ExplorerError):
    """A clip that can't be read or written, or that passes the limits."""


class UntoldError(CheckpointError):
    """A weights file that can't tell what a person may: the architecture, the heads or the grid."""


class DeviceMemoryError(ExplorerError):
    """A GPU with too little free memory for what was asked."""


class SettingsError(ExplorerError):
    """A setting of the environment that can't be used."""
