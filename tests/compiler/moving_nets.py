"""Small models in which elements are moved about in every way that a pass folds, and in some that none can."""

from __future__ import annotations

import numpy as np

from tests.models import Net
from tests.tflite_writer import QuantSpec

Q = (0.05, 3)
ROWS = ((0, 0), (1, 1), (1, 1), (0, 0))


def padded_convolutions() -> Net:
    """PADs before VALID and SAME convolutions of several strides, one of them read twice, one with another value."""
    net = Net(1)
    x = net.input((1, 9, 8, 4))
    x = net.conv2d(net.pad(x, ROWS), (3, 3), 4, stride=(2, 2), padding="VALID")
    x = net.depthwise_conv2d(net.pad(x, ((0, 0), (1, 1), (0, 1), (0, 0))), (3, 3), padding="SAME")
    shared = net.pad(x, ((0, 0), (0, 1), (1, 0), (0, 0)))
    net.conv2d(shared, (2, 2), 3, padding="VALID")
    net.depthwise_conv2d(shared, (2, 3), padding="VALID")
    filled = net.padv2(x, ROWS, value=net._quant(x)[1])
    other = net.padv2(filled, ROWS, value=net._quant(x)[1] - 7)
    net.conv2d(other, (3, 3), 2, padding="VALID")
    return net


def pad_that_is_read_otherwise() -> Net:
    net = Net(2)
    padded = net.pad(net.input((1, 4, 4, 2)), ROWS)
    net.conv2d(padded, (3, 3), 2, padding="VALID")
    net.max_pool(padded)
    return net


def the_same_twice() -> Net:
    """Equal PADs and equal TRANSPOSEs, which are computed once, before different readers."""
    net = Net(17)
    x = net.input((1, 6, 5, 4))
    net.conv2d(net.pad(x, ROWS), (3, 3), 2, padding="VALID")
    net.conv2d(net.pad(x, ROWS), (2, 3), 3, padding="VALID")
    net.softmax(net.transpose(net.transpose(x, (0, 3, 1, 2)), (0, 2, 3, 1)))
    net.softmax(net.transpose(net.transpose(x, (0, 3, 1, 2)), (0, 3, 1, 2)))
    rows = [net.slice(x, (0, 1, 0, 0), (1, 2, 5, 4)) for _ in range(2)]
    net.softmax(net.concatenation(*rows, axis=1))
    return net


def nothing_but_padding() -> Net:
    """The first rows of the result see only the padding."""
    net = Net(3)
    net.conv2d(net.pad(net.input((1, 3, 3, 2)), ((0, 0), (4, 0), (0, 5), (0, 0))), (2, 2), 2, padding="VALID")
    return net


def turned_twice() -> Net:
    """Back to the old order, to another one, and to none that a TRANSPOSE of the same shape could make."""
    net = Net(4)
    x = net.conv2d(net.input((1, 4, 6, 2)), (1, 1), 4)
    back = net.transpose(net.transpose(x, (0, 3, 1, 2)), (0, 2, 3, 1))
    net.conv2d(back, (1, 1), 2)
    other = net.transpose(net.transpose(net.transpose(x, (0, 2, 1, 3)), (0, 3, 1, 2)), (2, 0, 1, 3))
    net.softmax(other)
    through = net.transpose(net.reshape(net.transpose(x, (0, 3, 1, 2)), (4, 24)), (1, 0))
    net.softmax(net.squeeze(net.expand_dims(through, 0), (0,)))
    return net


def turned_about() -> Net:
    """Together an order that is not its own inverse."""
    net = Net(16)
    net.softmax(net.transpose(net.transpose(net.input((2, 3, 4, 5)), (1, 0, 2, 3)), (0, 3, 1, 2)))
    return net


def turned_and_read_between() -> Net:
    net = Net(5)
    first = net.transpose(net.input((2, 3, 4)), (2, 0, 1))
    net.softmax(first)
    net.transpose(first, (1, 2, 0))
    return net


def pieces_of_rows() -> Net:
    """A concatenation and a split along rows of one image: nothing is copied."""
    net = Net(6)
    x = net.input((1, 4, 5, 3))
    a, b = net.conv2d(x, (3, 3), 6, quant=Q), net.conv2d(x, (1, 1), 6, stride=(2, 1), quant=Q)
    whole = net.concatenation(a, b, axis=1)
    top, middle, rest = net.split_v(whole, 1, (1, 3, -1))
    net.conv2d(top, (1, 1), 2)
    net.max_pool(middle)
    net.softmax(net.reshape(rest))
    return net


def pieces_of_channels() -> Net:
    """Along the channels of an image pieces lie interleaved: copied."""
    net = Net(7)
    x = net.input((1, 4, 5, 3))
    whole = net.concatenation(
        net.conv2d(x, (3, 3), 8, quant=Q), net.max_pool(net.conv2d(x, (1, 1), 5, quant=Q), (1, 1))
    )
    for piece in net.split_v(whole, 3, (4, 9)):
        net.conv2d(piece, (1, 1), 3)
    return net


def wholes_of_wholes() -> Net:
    net = Net(8)
    x = net.input((1, 24))
    parts = [net.fully_connected(x, units, quant=Q) for units in (3, 5, 7, 2)]
    inner = net.concatenation(*parts[:2], axis=1)
    outer = net.concatenation(
        net.reshape(inner, (8,)), net.reshape(net.concatenation(*parts[2:], axis=-1), (9,)), axis=0
    )
    net.fully_connected(net.reshape(outer, (1, 17)), 4)
    net.softmax(inner)
    return net


def pieces_that_need_care() -> Net:
    """Pieces that are used twice, inputs, constants, views of a part, outputs of the model."""
    net = Net(9)
    x = net.input((1, 12), quant=Q)
    y = net.fully_connected(x, 12, quant=Q)
    z = net.fully_connected(y, 12, quant=Q)
    net.softmax(net.concatenation(y, y, axis=1))
    net.softmax(net.concatenation(y, z, axis=1))
    net.softmax(net.concatenation(z, y, axis=0))
    net.concatenation(x, net.fully_connected(x, 3, quant=Q), axis=1)
    row = net.constant(
        np.arange(12, dtype=np.int8).reshape(1, 12), name="row", quant=QuantSpec((float(np.float32(0.05)),), (3,))
    )
    net.concatenation(row, net.fully_connected(x, 12, quant=Q), axis=0)
    left, right = net.split(net.fully_connected(x, 12, quant=Q), 1, 2)
    net.softmax(net.concatenation(right, left, axis=1))
    return net


def parts_as_pieces() -> Net:
    """Halves of one tensor, which are views of it, each in a whole of its own."""
    net = Net(14)
    x = net.input((1, 12))
    first, second = net.split(net.fully_connected(x, 8, quant=Q), 1, 2)
    net.softmax(net.concatenation(net.fully_connected(x, 5, quant=Q), first, axis=1))
    net.softmax(net.concatenation(second, net.fully_connected(x, 3, quant=Q), axis=1))
    net.add(first, second)
    return net


def pieces_far_apart() -> Net:
    """A small piece early, a large one late, and what needs most memory between them."""
    net = Net(15)
    x = net.input((1, 4))
    small = net.fully_connected(x, 2, quant=Q)
    y = net.fully_connected(net.fully_connected(x, 60), 60)
    net.concatenation(small, net.fully_connected(y, 40, quant=Q), axis=1)
    return net


def outputs_in_a_whole() -> Net:
    net = Net(10)
    x = net.input((1, 12))
    a, b = net.fully_connected(x, 5, quant=Q), net.fully_connected(x, 6, quant=Q)
    net.softmax(net.concatenation(a, b, axis=1))
    net.softmax(a)
    return net


def parts_of_the_input() -> Net:
    net = Net(11)
    x = net.input((4, 8), quant=Q)
    for row in net.unpack(x, 0)[1:3]:
        net.softmax(net.reshape(row, (1, 8)))
    net.softmax(net.slice(x, (3, 0), (1, 8)))
    net.softmax(net.strided_slice(x, (0, 0), (2, 8)))
    net.pack(net.fully_connected(x, 3, quant=Q), net.fully_connected(x, 3, quant=Q), axis=0)
    return net


def nothing_but_moves() -> Net:
    net = Net(12)
    x = net.input((1, 6, 4), quant=Q)
    a, b = net.split(x, 1, 2)
    net.transpose(net.concatenation(b, a, axis=1), (0, 2, 1))
    net.resize_nearest_neighbor(net.expand_dims(x, 3), (12, 4))
    net.squeeze(net.pad(a, ((0, 0), (1, 0), (0, 2))))
    return net


def large_constant() -> Net:
    """A constant that grows much, and one that does not."""
    net = Net(13)
    quant = QuantSpec((0.1,), (3,))
    pixel = net.constant(np.arange(2, dtype=np.int8).reshape(1, 1, 1, 2), name="pixel", quant=quant)
    image = net.constant(np.arange(24, dtype=np.int8).reshape(1, 3, 4, 2), name="image", quant=quant)
    net.add(net.input((1, 64, 64, 2)), net.resize_nearest_neighbor(pixel, (64, 64)))
    net.add(net.input((1, 4, 3, 2), name="other"), net.transpose(image, (0, 2, 1, 3)))
    return net


NETS = {
    net.__name__: net
    for net in (
        padded_convolutions,
        pad_that_is_read_otherwise,
        the_same_twice,
        nothing_but_padding,
        turned_twice,
        turned_about,
        turned_and_read_between,
        pieces_of_rows,
        pieces_of_channels,
        wholes_of_wholes,
        pieces_that_need_care,
        outputs_in_a_whole,
        parts_as_pieces,
        pieces_far_apart,
        parts_of_the_input,
        nothing_but_moves,
        large_constant,
    )
}
