"""Makes the models of this folder. They are small, their weights are drawn and trained from fixed seeds, and no data
is downloaded: every input is synthesised here.

    python -m venv tf && tf/bin/pip install 'tensorflow-cpu==2.18.*' 'numpy<2'
    tf/bin/python models/make_models.py

On the same machine two runs give the same bytes. On another processor TensorFlow may round differently and give a model
with other weights but the same structure; that is why the files themselves are committed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN's summation order depends on the processor
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

SEED = 20240229
WORDS = ("silence", "unknown", "rising", "falling", "steady", "chirp", "burst", "double")
FRAMES, BANDS = 49, 10  # one second of audio as a spectrogram: 49 windows of 40 ms, 10 mel-like bands


def spectrograms(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`count` synthetic spectrograms, float32 (count, 49, 10, 1) about -1…1, and their word, int32 (count,).

    A word is a trajectory of one or two formants through the bands; noise and onset vary.
    """
    label = rng.integers(0, len(WORDS), count)
    time = np.linspace(0.0, 1.0, FRAMES)
    band = np.arange(BANDS)
    images = rng.normal(-0.6, 0.15, (count, FRAMES, BANDS))
    for image, word in zip(images, label):
        onset, length = rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.65)
        inside = np.clip((time - onset) / length, 0.0, 1.0)
        envelope = np.sin(np.pi * inside)
        low = rng.uniform(0.5, 2.5)
        tracks = {
            "silence": [],
            "unknown": [(rng.uniform(0, 9) + rng.normal(0, 2.5, FRAMES), envelope)],
            "rising": [(low + 6.0 * inside, envelope)],
            "falling": [(9.0 - low - 6.0 * inside, envelope)],
            "steady": [(low + 3.0 + 0.0 * inside, envelope)],
            "chirp": [(4.5 + 3.5 * np.sin(4.0 * np.pi * inside), envelope)],
            "burst": [(low + 2.0 + 0.0 * inside, (np.sin(10.0 * np.pi * inside) > 0.0) * envelope)],
            "double": [(low + 0.0 * inside, envelope), (low + 5.0 + 0.0 * inside, envelope)],
        }[WORDS[word]]
        for centre, loudness in tracks:
            distance = band[None, :] - np.asarray(centre)[:, None]
            image += 1.4 * np.asarray(loudness)[:, None] * np.exp(-0.5 * distance**2)
    return np.clip(images, -1.0, 1.0)[..., None].astype(np.float32), label.astype(np.int32)


def keyword_spotting(normalised: bool) -> tf.keras.Model:
    """A DS-CNN in small: convolution, three depthwise-separable blocks, average pool, fully connected, softmax.

    `normalised` puts batch normalisation behind every convolution, for training; otherwise a bias stands for it, see
    `fold_normalisation`.
    """
    layers = tf.keras.layers

    def activated(kind: type, *sizes: object, name: str, **options: object) -> Callable[[tf.Tensor], tf.Tensor]:
        if not normalised:
            return kind(*sizes, activation="relu", name=name, **options)
        convolution = kind(*sizes, use_bias=False, name=name, **options)
        return lambda x: layers.ReLU()(layers.BatchNormalization(name=f"{name}_normalised")(convolution(x)))

    image = tf.keras.Input((FRAMES, BANDS, 1), name="spectrogram")
    x = activated(layers.Conv2D, 24, (10, 4), strides=(2, 2), padding="same", name="stem")(image)
    for block in range(1, 4):
        x = activated(layers.DepthwiseConv2D, 3, padding="same", name=f"block{block}_depthwise")(x)
        x = activated(layers.Conv2D, 24, 1, name=f"block{block}_pointwise")(x)
    x = layers.Flatten(name="flat")(layers.AveragePooling2D((25, 5), name="pool")(x))
    return tf.keras.Model(image, layers.Dense(len(WORDS), activation="softmax", name="word")(x), name="keywords")


def fold_normalisation(trained: tf.keras.Model) -> tf.keras.Model:
    """The same function without normalisation: its factor goes into the weights, its offset into the bias."""
    folded = keyword_spotting(normalised=False)
    for layer in folded.layers:
        source = trained.get_layer(layer.name) if layer.weights else None
        if isinstance(layer, tf.keras.layers.Dense):
            layer.set_weights(source.get_weights())
        elif source is not None:
            (kernel,) = source.get_weights()
            normal = trained.get_layer(f"{layer.name}_normalised")
            gamma, beta, mean, variance = normal.get_weights()
            factor = gamma / np.sqrt(variance + normal.epsilon)
            # A depthwise kernel is (height, width, channels, 1): its channels are not in the last dimension.
            depthwise = isinstance(layer, tf.keras.layers.DepthwiseConv2D)
            layer.set_weights([kernel * (factor[:, None] if depthwise else factor), beta - mean * factor])
    return folded


def talk() -> tf.keras.Model:
    """The model of an introductory talk: one convolution, one pool, one dense layer."""
    layers = tf.keras.layers
    image = tf.keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(2, 3, activation="relu", name="convolution")(image)
    x = layers.MaxPool2D(name="pool")(x)
    return tf.keras.Model(image, layers.Dense(10, name="dense")(layers.Flatten(name="flat")(x)), name="talk")


def residual() -> tf.keras.Model:
    """Two branches that meet in an ADD, with odd channel counts and a stride: the smallest ResNet worth the name."""
    layers = tf.keras.layers
    image = tf.keras.Input((9, 7, 3), name="image")
    x = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="stem")(image)
    branch = layers.Conv2D(5, 3, padding="same", activation="relu", name="branch_a")(x)
    branch = layers.Conv2D(5, 3, padding="same", name="branch_b")(branch)
    x = layers.ReLU(name="joined")(layers.Add(name="join")([x, branch]))
    x = layers.AveragePooling2D((5, 4), name="pool")(x)
    x = layers.Dense(3, activation="softmax", name="class")(layers.Flatten(name="flat")(x))
    return tf.keras.Model(image, x, name="residual")


def convert(model: tf.keras.Model, calibration: np.ndarray | None, *, dense_per_channel: bool = True) -> bytes:
    """The model as a .tflite file: int8 throughout with `calibration` (float32, batch first), float32 without.

    `dense_per_channel` False quantises the weights of dense layers with one scale, as converters before 2.17 did; the
    two have different arithmetic in the reference kernels, so the models of this folder have both.
    """
    # A fixed batch of one; from a Keras model the converter would keep the batch open and emit SHAPE and PACK.
    signature = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name=model.inputs[0].name)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature)
    # Weights become constants; left as variables they would be READ_VARIABLE operators in the file.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(function)])
    if calibration is not None:

        def examples() -> Iterator[list[np.ndarray]]:
            for example in calibration:
                yield [example[None]]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter._experimental_disable_per_channel_quantization_for_dense_layers = not dense_per_channel
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def train(model: tf.keras.Model, images: np.ndarray, labels: np.ndarray, epochs: int, from_logits: bool) -> None:
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    model.compile(tf.keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    model.fit(images, labels, batch_size=32, epochs=epochs, shuffle=False, verbose=2)


def make_keywords() -> Iterator[tuple[str, bytes]]:
    images, labels = spectrograms(2400, np.random.default_rng(SEED))
    model = keyword_spotting(normalised=True)
    train(model, images, labels, epochs=8, from_logits=False)
    folded = fold_normalisation(model)
    difference = np.abs(model.predict(images[:100], verbose=0) - folded.predict(images[:100], verbose=0)).max()
    assert difference < 1e-4, f"folding changed the outputs by {difference}"
    yield "keywords_int8", convert(folded, images[:100])


def make_talk() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(SEED + 1)
    labels = rng.integers(0, 10, 1000).astype(np.int32)
    digits = rng.normal(0.0, 1.0, (10, 28, 28, 1))  # ten fixed textures stand for ten digits
    images = (digits[labels] + rng.normal(0.0, 0.7, (1000, 28, 28, 1))).astype(np.float32)
    model = talk()
    train(model, images, labels, epochs=2, from_logits=True)
    yield "talk_int8", convert(model, images[:100])
    yield "talk_float", convert(model, None)


def make_residual() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(SEED + 2)
    labels = rng.integers(0, 3, 600).astype(np.int32)
    images = rng.normal(0.0, 0.5, (600, 9, 7, 3)).astype(np.float32)
    images[np.arange(600), :, :, labels] += 0.8  # the class is the brightest colour
    model = residual()
    train(model, images, labels, epochs=4, from_logits=False)
    yield "residual_int8", convert(model, images[:100], dense_per_channel=False)


MAKERS: tuple[Callable[[], Iterator[tuple[str, bytes]]], ...] = (make_keywords, make_talk, make_residual)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for make in MAKERS:
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(SEED)
        tf.config.experimental.enable_op_determinism()
        for name, data in make():
            path = folder / f"{name}.tflite"
            path.write_bytes(data)
            print(f"{path.name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
