"""One search of table `flips`: the neurons of a ResNet-9 that carry an example, closed one by one by the definition.

python examples/flips.py STORE TRIAL EXAMPLE       repeat 0, `estimator: definition` (`fast` may close other neurons)
"""

import sys

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

import memloc

trial, example = memloc.open_store(sys.argv[1]).trial(sys.argv[2]), int(sys.argv[3])
row = trial.pandas("flips").query("example == @example and repeat == 0").iloc[0]
data, model = trial.data(), trial.model().requires_grad_(False)
neurons = [(layer, k) for layer, shape in model.neurons.items() for k in range(torch.Size(shape).numel())]
gates = {layer: torch.ones(shape, requires_grad=True) for layer, shape in model.neurons.items()}
for layer in list(gates)[:-1]:  # a channel after its ReLU; in the last layer a weight
    model.get_submodule(layer).register_forward_hook(lambda _, __, out, gate=gates[layer]: out * gate[:, None, None])


def mean_logits(rows, step):  # over five copies with noise that has a hundredth of the image's length
    streams = [trial.stream("flip noise", example, 0, step) for example in data.example[rows].tolist()]
    u = torch.stack([torch.from_numpy(s.standard_normal((5, *data.x.shape[1:]), "f")) for s in streams])
    length = data.x[rows].flatten(1).norm(dim=1)[:, None] / u.flatten(2).norm(dim=2)
    x = (data.x[rows, None] + 0.01 * length[..., None, None, None] * u).flatten(0, 1)
    weights = {"linear.weight": model.linear.weight * gates["linear"]}
    return torch.func.functional_call(model, weights, x).double().unflatten(0, (-1, 5)).mean(1)


i, closed = data.example.tolist().index(example), []
while (z := mean_logits([i], len(closed))).argmax() == data.y[i] and len(closed) < min(200, len(neurons)):
    batch = trial.stream("flip batch", 0, len(closed)).permutation(len(data.y))[:512]
    gain = cross_entropy(mean_logits(batch, len(closed)), data.y[batch]) - cross_entropy(z, data.y[[i]])
    slopes = zip(torch.autograd.grad(gain, list(gates.values())), gates.values(), strict=True)
    closed.append(neurons[torch.cat([s.masked_fill(gate == 0, -torch.inf).flatten() for s, gate in slopes]).argmax()])
    gates[closed[-1][0]].data.view(-1)[closed[-1][1]] = 0
stored = list(zip(row["layers"], row["indices"], strict=True))
columns = {"recomputed": [closed, int(z.argmax())], "table": [stored, row["new_class"]]}
print((compared := pd.DataFrame(columns, ["closed", "new_class"])).to_string())
