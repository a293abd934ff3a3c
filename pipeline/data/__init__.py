"""Photos on disk -> a prepared store of pixels, labels and splits: sources, intake, pixels, splits, store, in order.

`rules` is the one table of what becomes of a file, `rule_versions` keeps what was prepared by earlier rules usable, and
`class_columns` names the columns of classes in every table. Does not own augmentation and batches (`training`), nor
what of a data set is logged (`experiment`).
"""
