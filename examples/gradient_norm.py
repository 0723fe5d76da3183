"""One epoch and layer of table `gradients` (`at: checkpoint`): the squared norms of the clean and the noisy gradient.

python examples/gradient_norm.py STORE TRIAL LAYER EPOCH
"""

import sys

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

import memloc

trial = memloc.open_store(sys.argv[1]).trial(sys.argv[2])
layer, epoch = sys.argv[3], int(sys.argv[4])
data, model, n = trial.data(), trial.model(epoch).train(), len(trial.data().y)  # batch norms take the batch's statistics
parameters = [model.get_parameter(name) for name in model.parameters_of(layer)]
order = torch.from_numpy(trial.stream("gradient order", epoch).permutation(n))
sums = {"sq_clean": 0.0, "sq_noisy": 0.0}
for rows in order.split(trial.config.batch_size):
    losses = cross_entropy(model(data.x[rows]).double(), data.y[rows], reduction="none") / n
    for name, members in (("sq_clean", ~data.noisy[rows]), ("sq_noisy", data.noisy[rows])):
        gradients = torch.autograd.grad(losses[members].sum(), parameters, retain_graph=True)
        sums[name] += torch.cat([g.flatten().double() for g in gradients])
table = trial.pandas("gradients").query("layer == @layer and epoch == @epoch")
compared = pd.DataFrame({"recomputed": {k: float(g @ g) for k, g in sums.items()}, "table": table[list(sums)].sum()})
print(compared.to_string())
