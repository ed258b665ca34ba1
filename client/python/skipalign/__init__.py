"""Reads batches from a SkipAlign feeder (skipalignd).

    import skipalign

    with skipalign.Feed("tcp://127.0.0.1:5757", stream="chat", world=8, rank=3, step=1200) as feed:
        for batch in feed:
            train(batch.input_ids, batch.position_ids, batch.labels)   # numpy, int32, (rows, length)

Needs numpy, pyzmq and msgpack.
"""

from .batch import Batch
from .errors import FeedError, FeedTimeout
from .feed import Feed
from .messages import Corpus, End, Info, Wait

__all__ = ["Batch", "Corpus", "End", "Feed", "FeedError", "FeedTimeout", "Info", "Wait"]
__version__ = "0.1.0"
