"""The accuracies of one row of table `flips`: those of a ResNet-9 in which the row's neurons are closed (repeat 0).

python examples/flip_accuracies.py STORE TRIAL EXAMPLE
"""

import sys

import pandas as pd
import torch

import memloc

trial, example = memloc.open_store(sys.argv[1]).trial(sys.argv[2]), int(sys.argv[3])
row = trial.pandas("flips").query("example == @example and repeat == 0").iloc[0]
data, model = trial.data(), trial.model().requires_grad_(False)
for layer, k in zip(row["layers"], row["indices"], strict=True):
    if layer == "linear":  # a neuron of the last layer is one weight
        model.linear.weight.view(-1)[k] = 0
    else:
        closed = torch.tensor([int(k)])
        model.get_submodule(layer).register_forward_hook(lambda _, __, out, k=closed: out.index_fill(1, k, 0))
rows, test_rows = trial.flip_rows(row["analysis"])
rows = rows[data.example[rows] != example]
right = (model(data.x[rows]).argmax(1) == data.y[rows]).double()
test = (model(data.x_test[test_rows]).argmax(1) == data.y_test[test_rows]).double()
noisy, columns = data.noisy[rows], ["clean_acc", "noisy_acc", "test_acc"]
accuracies = [float(right[~noisy].mean()), float(right[noisy].mean()), float(test.mean())]
compared = pd.DataFrame({"recomputed": accuracies, "table": row[columns].astype(float)}, columns)
print(compared.to_string())
