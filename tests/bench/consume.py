"""consume.py ENDPOINT STREAM WARM PASS SECONDS - as consume.c does, with the Python client.

"BATCHES SECONDS": batches counted, without the first WARM of each PASS.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "client" / "python"))
import skipalign

endpoint, stream, warm, length, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
batches, seconds = 0, 0.0
while seconds < limit:
    with skipalign.Feed(endpoint, stream=stream, job="bench") as feed:
        before = start = 0.0
        for i, batch in zip(range(length), feed):
            if i < warm:
                before, start = seconds, time.monotonic()
                continue
            batches += 1
            seconds = before + time.monotonic() - start
            if seconds >= limit:
                break
print(batches, seconds)
