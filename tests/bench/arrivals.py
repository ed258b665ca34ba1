"""arrivals.py ENDPOINTS STREAM FIRST COUNT SECONDS - as arrivals.c does, with the Python client."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "client" / "python"))
import skipalign

endpoints, stream, first, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
seen, opened = [], time.monotonic()
with skipalign.Feed(endpoints, stream=stream, step=first, job="arrivals") as feed:
    while (count == 0 or len(seen) < count) and time.monotonic() < opened + seconds:
        batch = next(feed, None)
        if batch is None:
            break
        seen.append((batch.step, batch.generation, time.monotonic(), batch.tokens.tolist()))
print(first, 0, opened, 0)
for *arrival, tokens in seen:
    print(*arrival, sum(tokens))
