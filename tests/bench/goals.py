#!/usr/bin/env python3
"""Holds the results of gemm_bench, attention_bench and block_bench against their goals.

goals.py FILE...    the JSON of one or several runs with one instruction set; of each figure the best counts.
A line a figure: what, the rate, its share of the peak of the unit that computed it, the goal. Exit 1 where a goal is missed.
"""
import json
import sys

GEMM = {"BF16": 0.85, "I8": 0.85}
ATTENTION = {1024: 0.65, 4096: 0.70}
BLOCK_PAIR = 0.75


def objects(path):
    """The results in a file: one JSON document, or one object a line."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line]
    return document.get("results", [document])


def figure(result):
    """(name, Gop/s, unit, share of its peak, goal), or None for what has no goal."""
    if result.get("dtype") in GEMM and "epilogue" in result:
        name = "{dtype} GEMM, M {m}, {n}x{k}, {epilogue} ({impl})".format(**result)
        return name, result["gflops"], result["peak_unit"], result["ratio"], GEMM[result["dtype"]]
    if result.get("bench") == "attention":
        tokens = result["tokens"]
        square = tokens == result["keys"] and result["head_dim"] == 128
        if result["dtype"] == "BF16" and result["chosen"] and square and tokens in ATTENTION:
            name = "BF16 attention, head 128, {tokens} tokens ({impl})".format(**result)
            return name, result["gflops"], result["peak_unit"], result["peak_share"], ATTENTION[tokens]
    if result.get("bench") == "block_pair":
        return "BF16 block pair", result["gflops"], result["peak_unit"], result["ratio"], BLOCK_PAIR
    return None


def main(paths):
    best = {}
    for path in paths:
        for name, rate, unit, share, goal in filter(None, map(figure, objects(path))):
            best[name] = max(best.get(name, (0,)), (share, rate, unit, goal))
    missed = 0
    for name, (share, rate, unit, goal) in best.items():
        missed += share < goal
        verdict = "met" if share >= goal else "MISSED"
        print(f"{name:52} {rate:8.0f} Gop/s  {share:.3f} of {unit:14} goal {goal:.2f}  {verdict}")
    print(f"{len(best)} figures, {missed} below their goals")
    return 1 if missed or not best else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
