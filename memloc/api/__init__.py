"""The Python interface: `memloc.open_store("URI")`, its tables, and its trials as models with their data."""

from memloc.api.opened import OpenStore, open_store
from memloc.api.trial import Trial, TrialList
from memloc.api.trial_data import TrialData
from memloc.data.directory import data_dir
from memloc.store.opening import store_uri

__all__ = ["OpenStore", "Trial", "TrialData", "TrialList", "data_dir", "open_store", "store_uri"]
