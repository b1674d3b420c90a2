"""A network small enough for every test."""

import keras


def tiny_network(dropout: float = 0.0, seed: int = 1) -> keras.Model:
    """Two layers on (4,) inputs: dense_1, dropout, logit."""
    first, second = (keras.initializers.GlorotUniform(seed=seed + offset) for offset in (0, 1))
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(8, activation="relu", kernel_initializer=first, name="dense_1")
    values = dense(inputs)
    if dropout:
        values = keras.layers.Dropout(dropout, seed=seed, name="dropout_1")(values)
    return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer=second, name="logit")(values))
