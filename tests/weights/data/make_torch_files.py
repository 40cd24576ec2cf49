# Made the .pt files beside this script, with torch 1.13.1 (Debian's python3-torch). The tests need neither.
import collections

import torch

base = torch.arange(48, dtype=torch.float32).reshape(6, 8)
state = collections.OrderedDict(
    f32=base,
    transposed=base.t(),
    rows=base[2:4],
    column=base[:, 3],
    bf16=base.bfloat16(),
    f16=base.half(),
    f64=base.double(),
    i64=torch.arange(5) - 2,
    i32=(torch.arange(5) - 2).int(),
    u8=torch.arange(5, dtype=torch.uint8),
    scalar=torch.tensor(3.5),
    empty=torch.zeros(0, 4),
    expanded=torch.tensor([7.0]).expand(3, 2),
    parameter=torch.nn.Parameter(torch.ones(2, 2)),
)
network = torch.nn.Linear(2, 3)
with torch.no_grad():
    network.weight.copy_(torch.arange(6.0).reshape(3, 2))
    network.bias.zero_()

for name, is_zip in (("zip", True), ("legacy", False)):
    def save(thing, suffix, **options):
        torch.save(thing, f"{name}_{suffix}.pt", _use_new_zipfile_serialization=is_zip, **options)

    save(state, "state")
    save(state, "protocol4", pickle_protocol=4)
    save({"generator": network.state_dict()}, "generator")  # with the _metadata that state_dict() hangs on
    save({"module": network.state_dict(), "step": 3, "note": "é"}, "module")
    save({"app": {"model": network.state_dict()}, "rates": [0.1, None, True]}, "app")
    save(network, "object")  # a whole module: names its class, to be refused
