"""Photos on disk -> a prepared store of pixels, labels and splits: sources, intake, pixels, splits, store, in order.

`rules` is the table of what happens to each file, `rule_versions` keeps stores and models of earlier rules usable, and
`class_columns` names the per-class columns of every table. Does not own augmentation and batches (`training`), nor what
is logged about a data set (`experiment`).
"""
