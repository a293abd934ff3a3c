"""Importing this imports all that a trial needs and starts nothing: the processes of a search fork from one that has.

It takes six seconds, which every trial would otherwise begin with.
"""

import pipeline.trials  # noqa: F401
from pipeline.models.backend import import_backend

import_backend()

import keras_hub  # noqa: E402, F401
