"""One cell of table `rewind`: a layer group's weights of an earlier epoch, put into the last network.

python examples/rewinding.py STORE TRIAL LAYER EPOCH
"""

import sys

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

import memloc

trial = memloc.open_store(sys.argv[1]).trial(sys.argv[2])
layer, epoch = sys.argv[3], int(sys.argv[4])
data, model, early = trial.data(), trial.model(), trial.model(epoch)
with torch.no_grad():
    for name in model.parameters_of(layer):  # the running statistics stay those of the last epoch
        model.get_parameter(name).copy_(early.get_parameter(name))
    logits, test_logits = model(data.x).double(), model(data.x_test)
right, loss = (logits.argmax(1) == data.y).double(), cross_entropy(logits, data.y, reduction="none")
clean, noisy = ~data.noisy, data.noisy
test = (test_logits.argmax(1) == data.y_test).double()
numbers = [right[clean].mean(), right[noisy].mean(), test.mean(), loss[clean].mean(), loss[noisy].mean()]
cell = trial.pandas("rewind").query("layer == @layer and epoch == @epoch").iloc[0]
columns = ["clean_acc", "noisy_acc", "test_acc", "clean_loss", "noisy_loss"]
compared = pd.DataFrame({"recomputed": map(float, numbers), "table": cell[columns].astype(float)}, columns)
print(compared.to_string())
