"""Importing this imports all that a training needs and starts nothing: worker processes fork from one that has.

It takes seven seconds, which every training would otherwise begin with. That process ends with its parent and is not to
be interrupted: what is meant is the trainings.
"""

import signal

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)

import pipeline.experiment  # noqa: E402
from pipeline.models.backend import import_backend  # noqa: E402

import_backend()

import keras_hub  # noqa: E402, F401

import pipeline.experiment.preload_stores  # noqa: E402, F401
