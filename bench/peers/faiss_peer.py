"""faiss beside `lakegate bench`: one index, built and searched over stdin and stdout, one thread.

Requests are one line of JSON, some followed by raw little-endian float32. Replies are one line of JSON.
  {"op": "build", "kind", "metric", "dim", "count"} + float32[count * dim]  ->  {"ms", "bytes", "settings"}
  {"op": "search", "k", "effort"} + float32[dim]                            ->  {"ids": [k], "us"}
Searches time themselves, so that the way between the processes does not count.
"""

import json
import math
import sys
import time

try:
    import faiss
    import numpy as np
except ImportError as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit(3)


def build(kind, metric, vectors):
    """The index and what it was built with, as the faiss wiki recommends for its size."""
    count, dim = vectors.shape
    measure = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    lists = max(1, min(round(4 * math.sqrt(count)), count // 39))
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, 32, measure)
        settings = f"M 32, efConstruction {index.hnsw.efConstruction}"
    elif kind == "ivf":
        settings = f"IVF{lists},Flat"
        index = faiss.index_factory(dim, settings, measure)
    else:
        settings = "RaBitQfs,Refine(Flat)" if kind == "rabitq" else f"IVF{lists},RaBitQfs,Refine(Flat)"
        index = faiss.index_factory(dim, settings, measure)
    if not index.is_trained:
        index.train(vectors)
    index.add(vectors)
    return index, settings


def parameters(kind, effort):
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=effort)
    if kind == "ivf":
        return faiss.SearchParametersIVF(nprobe=effort)
    if kind == "rabitq":
        return faiss.IndexRefineSearchParameters(k_factor=effort)
    # Where more lists are probed, more candidates are near enough to need their vectors.
    probing = faiss.IVFRaBitQSearchParameters()
    probing.nprobe = effort
    return faiss.IndexRefineSearchParameters(k_factor=min(10 + effort / 4, 40), base_index_params=probing)


def normalized(vectors):
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    faiss.normalize_L2(vectors)
    return vectors


def main():
    faiss.omp_set_num_threads(1)
    requests, replies = sys.stdin.buffer, sys.stdout
    kind = metric = index = dim = None
    print(json.dumps({"version": faiss.__version__}), flush=True)
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        if request["op"] == "build":
            kind, metric, dim = request["kind"], request["metric"], request["dim"]
            data = requests.read(4 * dim * request["count"])
            vectors = np.frombuffer(data, dtype=np.float32).reshape(-1, dim)
            started = time.perf_counter()
            if metric == "cosine":
                vectors = normalized(vectors.copy())
            index, settings = build(kind, metric, vectors)
            ms = (time.perf_counter() - started) * 1000
            del data, vectors
            reply = {"ms": ms, "bytes": len(faiss.serialize_index(index)), "settings": settings}
        else:
            query = np.frombuffer(requests.read(4 * dim), dtype=np.float32).reshape(1, dim)
            effort = parameters(kind, request["effort"])
            started = time.perf_counter()
            if metric == "cosine":
                query = normalized(query.copy())
            _, ids = index.search(query, request["k"], params=effort)
            us = (time.perf_counter() - started) * 1e6
            reply = {"ids": ids[0].tolist(), "us": us}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


main()
