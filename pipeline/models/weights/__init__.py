"""Pre-trained weights: where they are, what is in them, and their way into a backbone.

`places` follows an address, to `library` (the project's own folder, filled from the table in `sources`) or `hubs`
(Kaggle and Hugging Face, if `network` finds one); `files` opens a folder or file and reads its scaling; `state_dict`,
`torch_files` and `layer_weights` read the numbers. Does not own architectures (`variants`, `structure`), nor how a
network is put together (`builder`).
"""
