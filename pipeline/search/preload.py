"""Importing this imports all that a trial needs and starts nothing: the trials fork from a process that has.

A study in memory is opened and left, because only that imports and configures Optuna's tables.
"""

import gc

import optuna

import pipeline.experiment.preload
import pipeline.search.confirmations  # noqa: F401

optuna.logging.set_verbosity(optuna.logging.ERROR)
optuna.create_study(storage=(storage := optuna.storages.RDBStorage("sqlite://"))).ask()
storage.engine.dispose()
gc.freeze()
