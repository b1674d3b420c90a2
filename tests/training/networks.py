"""A network small enough for every test."""

import keras


def tiny_network(dropout: float = 0.0, seed: int = 1) -> keras.Model:
    """Two layers on (4,) inputs: dense_1, dropout, logit."""
    initializer = [keras.initializers.GlorotUniform(seed=seed + offset) for offset in (0, 1)]
    inputs = keras.Input((4,))
    values = keras.layers.Dense(8, activation="relu", kernel_initializer=initializer[0], name="dense_1")(
        inputs
    )
    if dropout:
        values = keras.layers.Dropout(dropout, seed=seed, name="dropout_1")(values)
    logit = keras.layers.Dense(1, kernel_initializer=initializer[1], name="logit")(values)
    return keras.Model(inputs, logit)
