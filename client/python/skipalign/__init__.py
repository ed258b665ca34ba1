"""Reads batches from a SkipAlign feeder (skipalignd).

    import skipalign

    with skipalign.Feed("tcp://127.0.0.1:5757", stream="chat", world=8, rank=3, step=1200) as feed:
        for batch in feed:
            train(batch.input_ids, batch.position_ids, batch.labels)   # numpy, int32, (rows, length)

Needs numpy, pyzmq and msgpack. skipalign.positions gives position ids without a feeder, and needs numpy alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch import Batch
    from .errors import FeedError, FeedTimeout
    from .feed import Feed
    from .messages import Corpus, End, Info, Wait

__all__ = ["Batch", "Corpus", "End", "Feed", "FeedError", "FeedTimeout", "Info", "Wait"]
__version__ = "0.1.0"

_HOME = {"Batch": "batch", "Corpus": "messages", "End": "messages", "Feed": "feed", "FeedError": "errors",
         "FeedTimeout": "errors", "Info": "messages", "Wait": "messages"}


def __getattr__(name: str) -> Any:
    """Names come when they are first used, so that skipalign.positions does without ZeroMQ and msgpack."""
    if name not in _HOME:
        raise AttributeError(f"module 'skipalign' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
