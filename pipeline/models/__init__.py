"""The networks: ResNet variants, the builder, pre-trained weights, and what is done with a network outside training.

`variants` and `structure` say what there is, `builder` makes a network of a config, `saved` reads one from disk,
`predict` runs photos through it, `folding` and `fast_layers` make it faster, `cost` and `grad_cam` look into it, and
`backend` loads TensorFlow. Does not own the training (`training`), nor photos (`data`).

TensorFlow and Keras are imported inside functions, and so is `fast_layers`, which subclasses Keras layers.
"""
