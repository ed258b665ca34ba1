# What one plain subscriber gets: python3 throughput.py ENDPOINT STREAM FIRST_STEP SECONDS
import sys, time, msgpack, numpy, zmq

endpoint, stream, step, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
sub = zmq.Context().socket(zmq.SUB)
sub.reconnect_ivl = -1
sub.connect(endpoint)
sub.subscribe(f"{stream}/1/0/{step}/")
batches = tokens = size = 0
start = None
while start is None or time.monotonic() < start + seconds:
    body = sub.recv_multipart()[1]
    batch = msgpack.unpackb(body)
    if batch["type"] != "batch":
        sys.exit(str(batch))
    if start is None:                  # the clock starts when the first batch is there
        start = time.monotonic()
        continue
    batches += 1
    size += len(body)
    tokens += int(numpy.frombuffer(batch["tokens"], "<i4").sum())
took = time.monotonic() - start
print(f"{batches / took:,.1f} batches/s of {batch['rows']} x {batch['length']}, {tokens / took:,.0f} tokens/s (padding"
      f" not counted), {size / took / 1e6:,.0f} MB/s over {endpoint.partition('://')[0]}")
