"""One layer group of table `retrain`: back to its initial weights, then trained on the clean examples alone.

python examples/retraining.py STORE TRIAL LAYER
"""

import sys

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

import memloc

trial, layer = memloc.open_store(sys.argv[1]).trial(sys.argv[2]), sys.argv[3]
table = trial.pandas("retrain").query("layer == @layer").set_index("epoch")
data, model, initial = trial.data(), *(trial.model(t).requires_grad_(False) for t in (None, 0))
group = [model.get_parameter(name).copy_(initial.get_parameter(name)) for name in model.parameters_of(layer)]
config, epochs, clean, accuracies = trial.config, table.index.max(), torch.where(~data.noisy)[0], []
optimizer = torch.optim.SGD([p.requires_grad_() for p in group], momentum=config.momentum, weight_decay=config.weight_decay)
for epoch in range(epochs + 1):
    order = trial.stream("retrain order", epoch).permutation(len(clean))
    batches = clean[order].split(config.batch_size) if epoch else []
    steps, peak = epochs * len(batches), max(1, round(epochs / 2)) * len(batches)
    for step, rows in enumerate(batches, (epoch - 1) * len(batches)):  # a rate that rises to 0.1, then falls
        optimizer.param_groups[0]["lr"] = 0.1 * min((step + 1) / peak, (steps - step) / (steps - peak))
        optimizer.zero_grad()
        cross_entropy(model.train()(data.x[rows]), data.y[rows]).backward()
        optimizer.step()
    right = (model.eval()(data.x).argmax(1) == data.y).double()
    accuracies.append((float(right[~data.noisy].mean()), float(right[data.noisy].mean())))
again = pd.DataFrame(accuracies, columns=["clean_acc", "noisy_acc"])
compared = pd.concat({"recomputed": again, "table": table[["clean_acc", "noisy_acc"]]}, axis=1)
print(compared.to_string())
