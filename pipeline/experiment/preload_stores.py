"""Importing this imports what a training needs beside its network, most of which its libraries import when first used.

Four hundred modules for the run, the tables and the pictures, which took a training most of a second.
"""

import contextlib
import gc

import mlflow.data.pandas_dataset
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import PIL.Image
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401
import seaborn  # noqa: F401
import sqlalchemy.orm

with contextlib.suppress(ImportError):  # without the program git
    import git  # noqa: F401

with contextlib.suppress(ImportError):  # without the extra postgres
    import psycopg  # noqa: F401
    import sqlalchemy_dlock.lock.postgresql  # noqa: F401

PIL.Image.init()
sqlalchemy.orm.configure_mappers()
gc.freeze()  # no task looks for garbage among what is imported by now, nor copies its memory by doing so
