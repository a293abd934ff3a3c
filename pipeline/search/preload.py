"""Importing this imports all that a trial needs and starts nothing: the processes of a search fork from one that has.

It takes seven seconds, which every trial would otherwise begin with. That process ends with its parent and is not to be
interrupted: what is meant is the trials.
"""

import signal

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)

import pipeline.search.confirmations  # noqa: E402
from pipeline.models.backend import import_backend  # noqa: E402

import_backend()

import keras_hub  # noqa: E402, F401

import pipeline.experiment.preload_stores  # noqa: E402, F401
