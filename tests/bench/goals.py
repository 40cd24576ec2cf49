#!/usr/bin/env python3
"""Holds the results of gemm_bench, attention_bench and block_bench against their goals.

goals.py FILE...    the JSON of one or several runs with one instruction set; of each figure the best counts.
A line a figure: what, the rate, its share of the peak of the unit that computed it (or of another rate), the goal. Exit 1 where a goal is missed.
"""
import json
import sys

GEMM = {"BF16": 0.85, "I8": 0.85}
ATTENTION = {1024: 0.65, 4096: 0.70}
BLOCK_PAIR = 0.75
# A narrower matrix's rate to that of a bf16 one, at ROWS_MANY rows and more.
OF_BF16 = {"F8_E4M3": 0.85, "I4": 0.85, "I8": 1.8}
ROWS_MANY = 1024
STREAMED = 1 / 1.05


def objects(path):
    """The results in a file: one JSON document, or one object a line."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line]
    return document.get("results", [document])


def figures(result):
    """(name, Gop/s, of what, share of it, goal) of each goal that the result has."""
    dtype = result.get("dtype")
    if "epilogue" in result:
        name = "{dtype} GEMM, M {m}, {n}x{k}, {epilogue} ({impl})".format(**result)
        if dtype in GEMM:
            yield name, result["gflops"], result["peak_unit"], result["ratio"], GEMM[dtype]
        if dtype in OF_BF16 and result["m"] >= ROWS_MANY:
            yield name + " to bf16", result["gflops"], "the bf16 GEMM", result["of_bf16"], OF_BF16[dtype]
    if result.get("bench") == "attention":
        tokens = result["tokens"]
        square = tokens == result["keys"] and result["head_dim"] == 128
        if dtype == "BF16" and result["chosen"] and square and tokens in ATTENTION:
            name = "BF16 attention, head 128, {tokens} tokens ({impl})".format(**result)
            yield name, result["gflops"], result["peak_unit"], result["peak_share"], ATTENTION[tokens]
    if result.get("bench") == "streaming":
        name = "{dtype} step, {video_tokens} tokens, streamed to resident".format(**result)
        share = 1 / result["streamed_over_resident"]
        yield name, 0, "the resident step", share, STREAMED
    if result.get("bench") == "block_pair":
        yield "BF16 block pair", result["gflops"], result["peak_unit"], result["ratio"], BLOCK_PAIR


def main(paths):
    best = {}
    for path in paths:
        for result in objects(path):
            for name, rate, unit, share, goal in figures(result):
                best[name] = max(best.get(name, (0,)), (share, rate, unit, goal))
    missed = 0
    for name, (share, rate, unit, goal) in best.items():
        missed += share < goal
        verdict = "met" if share >= goal else "MISSED"
        print(f"{name:60} {rate:8.0f} Gop/s  {share:.3f} of {unit:14} goal {goal:.2f}  {verdict}")
    print(f"{len(best)} figures, {missed} below their goals")
    return 1 if missed or not best else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
