#!/usr/bin/env python3
"""What a card reaches of its data sheet in the operations that a clip is made of, with PyTorch's libraries.

    tests/gpu/card_rates.py [--bf16-tflops 989 --fp8-tflops 1979 --int8-tops 1979 --memory-gbs 3350 --pcie-gbs 63]

The shares are what worker/plan/clip_time.cc assumes of every card. Shapes: the original model, 720x720_5s. A JSON line an operation; the best of
several rounds by the device's own clock.
"""
import argparse
import json

import torch

TOKENS = 15004  # of the video
ROUNDS = 7


def seconds(operation):
    """Of one call: the best round, each of enough calls to take 20 ms."""
    operation()
    torch.cuda.synchronize()

    def timed(calls):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(calls):
            operation()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / calls

    calls = max(1, int(0.02 / max(timed(3), 1e-6)))
    return min(timed(calls) for _ in range(ROUNDS))


def report(name, unit, rate, sheet):
    share = round(rate / sheet, 3) if sheet else None
    print(json.dumps({"operation": name, unit: round(rate, 1), "share_of_data_sheet": share}), flush=True)


def matrices(sheet):
    for k, n in ((3072, 3072), (3072, 14336), (14336, 3072)):
        operations = 2 * TOKENS * k * n / 1e12
        a = torch.randn(TOKENS, k, device="cuda", dtype=torch.bfloat16)
        w = torch.randn(n, k, device="cuda", dtype=torch.bfloat16)
        shape = f"{TOKENS}x{k}x{n}"
        report(f"bf16 {shape}", "tflops", operations / seconds(lambda: a @ w.t()), sheet.bf16_tflops)
        rows = TOKENS // 16 * 16 + 16  # what the 8-bit kernels take
        operations = 2 * rows * k * n / 1e12
        a8 = torch.randint(-127, 127, (rows, k), device="cuda", dtype=torch.int8)
        w8 = torch.randint(-127, 127, (n, k), device="cuda", dtype=torch.int8)
        report(f"int8 {shape}", "tops", operations / seconds(lambda: torch._int_mm(a8, w8.t())), sheet.int8_tops)
        a8, w8 = (torch.randn(x, k, device="cuda").to(torch.float8_e4m3fn) for x in (rows, n))
        row_scale, column_scale = torch.ones(rows, 1, device="cuda"), torch.ones(1, n, device="cuda")
        report(f"fp8 with a scale a row {shape}", "tflops",
               operations / seconds(lambda: torch._scaled_mm(a8, w8.t(), row_scale, column_scale, out_dtype=torch.bfloat16)),
               sheet.fp8_tflops)


def attention(sheet):
    heads, dim = 24, 128
    q, k, v = (torch.randn(1, heads, TOKENS, dim, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    took = seconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
    report(f"attention, {heads} heads of {dim}, {TOKENS} tokens", "tflops", 4 * heads * dim * TOKENS**2 / 1e12 / took, sheet.bf16_tflops)


def convolutions(sheet):
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    for channels, side in ((1024, 44), (1024, 88), (512, 176), (256, 352)):
        frames = 4
        x = torch.randn(1, channels, frames, side, side, device="cuda")
        convolution = torch.nn.Conv3d(channels, channels, 3, padding=1, device="cuda")
        with torch.no_grad():
            took = seconds(lambda: convolution(x))
        report(f"tf32 convolution, {channels} channels, {frames}x{side}x{side}", "tflops",
               2 * 27 * channels**2 * frames * side**2 / 1e12 / took, sheet.bf16_tflops / 2 if sheet.bf16_tflops else 0)


def copies(sheet):
    size = 2 << 30
    a = torch.empty(size, device="cuda", dtype=torch.uint8)
    b = torch.empty_like(a)
    report("copy within the card, bytes read and written", "gb_per_second", 2 * size / 1e9 / seconds(lambda: b.copy_(a)), sheet.memory_gbs)
    for pinned in (True, False):
        unit = torch.empty(350 << 20, dtype=torch.uint8, pin_memory=pinned)  # a block pair in 8 bits
        unit.fill_(1)
        to = a[: unit.numel()]
        took = seconds(lambda: to.copy_(unit, non_blocking=True))
        report(f"copy from {'pinned' if pinned else 'pageable'} host memory", "gb_per_second", unit.numel() / 1e9 / took, sheet.pcie_gbs)


def main():
    parser = argparse.ArgumentParser()
    for figure in ("bf16-tflops", "fp8-tflops", "int8-tops", "memory-gbs", "pcie-gbs"):
        parser.add_argument(f"--{figure}", type=float, default=0)
    sheet = parser.parse_args()
    print(json.dumps({"card": torch.cuda.get_device_name(), "torch": torch.__version__}), flush=True)
    for part in (matrices, attention, convolutions, copies):
        try:
            part(sheet)
        except (RuntimeError, AttributeError) as error:  # a card without these units, a PyTorch without the call
            print(json.dumps({"part": part.__name__, "error": str(error)[:300]}), flush=True)


if __name__ == "__main__":
    main()
