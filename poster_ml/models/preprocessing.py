"""What a network wants its pixels to be, as a layer inside the model."""

from __future__ import annotations

from typing import Any

import keras

SCALES = ("unit", "symmetric", "caffe")
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="poster_ml")
class PosterPreprocessing(keras.layers.Layer):
    """Pixels 0..255 to the scale that the weights were trained on.

    Source: `keras.applications.imagenet_utils.preprocess_input`, its modes "tf" and "caffe".
    Computes in float32 under every precision policy: 8 bits of mantissa would round the pixels.

    Args:
        scale: "unit" gives 0..1; "symmetric" gives -1..1; "caffe" gives BGR minus the ImageNet mean.

    Input: (B, H, W, 3) RGB, uint8 or float in 0..255. Output: the same shape, float32.

    Raises: ValueError with the scale received.
    """

    def __init__(self, scale: str, **kwargs: Any) -> None:
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}; received {scale=}")
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.scale = scale

    def call(self, images: Any) -> Any:
        """Maps (B, H, W, 3) pixels to the same shape in float32."""
        images = keras.ops.cast(images, "float32")
        if self.scale == "unit":
            return images / 255.0
        if self.scale == "symmetric":
            return images / 127.5 - 1.0
        mean = keras.ops.convert_to_tensor(IMAGENET_MEAN_BGR, dtype="float32")
        return keras.ops.flip(images, axis=-1) - mean

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}
