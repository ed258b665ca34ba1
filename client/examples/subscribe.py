# A trainer's side on nothing but pyzmq: python3 subscribe.py ENDPOINT STREAM STEPS
import sys, msgpack, numpy, zmq

endpoint, stream, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
sub = zmq.Context().socket(zmq.SUB)
sub.reconnect_ivl = -1                 # a lost feeder is an error, not a silent start from step 0 again
sub.connect(endpoint)
sub.subscribe(f"{stream}/1/0/0/")      # stream / world / rank / first step /
for _ in range(steps):
    batch = msgpack.unpackb(sub.recv_multipart()[1])
    if batch["type"] != "batch":       # "end" or "error"
        sys.exit(str(batch))
    ids, positions, labels = (numpy.frombuffer(batch[k], "<i4").reshape(batch["rows"], batch["length"])
                              for k in ("input_ids", "position_ids", "labels"))
    print(f"step {batch['step']:3}  input_ids {ids.shape}  tokens {numpy.frombuffer(batch['tokens'], '<i4').sum():6}"
          f"  supervised {batch['supervised']:6}  documents {len(batch['doc_record']) // 8:4}"
          f"  largest position id {positions.max():6}")
