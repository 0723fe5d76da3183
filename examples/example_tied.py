"""Table `evaluation` of a training with example-tied dropout: own, scaled and dropped accuracies, from the masks alone.

python examples/example_tied.py STORE TRIAL
"""

import sys

import pandas as pd
import torch

import memloc

trial = memloc.open_store(sys.argv[1]).trial(sys.argv[2])
data, model, tied = trial.data(), trial.model().requires_grad_(False), trial.config.example_tied
masks = [trial.mask(example) for example in data.example.tolist()]
own = {site: torch.stack([mask[site] for mask in masks]).float() for site in masks[0]}
general = {site: torch.arange(m.shape[1]) < max(1, int(tied.p_gen * m.shape[1])) for site, m in own.items()}
factors = {
    "own": own,
    "scaled": {site: torch.where(on, 1.0, tied.p_mem)[None] for site, on in general.items()},
    "dropped": {site: on.float()[None] for site, on in general.items()},
}
stored = trial.pandas("evaluation").query("rescale == 'none'").set_index("mode")
compared = {}
for mode, factor in factors.items():
    at_sites = {site: f[..., None, None] for site, f in factor.items()}
    right = (model(data.x, masks=at_sites).argmax(1) == data.y).double()
    compared[mode, "clean_acc"] = float(right[~data.noisy].mean()), stored.clean_acc[mode]
    compared[mode, "noisy_acc"] = float(right[data.noisy].mean()), stored.noisy_acc[mode]
compared = pd.DataFrame(compared, ["recomputed", "table"]).T
print(compared.to_string())
