"""Several training steps as one, compiled by XLA.

A session starts each of the hundreds of operations of a step by itself. XLA, TensorFlow's compiler,
fuses them where it can, and goes from step to step without coming back to Python. What is compiled
are the operations of the plain graph, with its gradients and its Adam, on its variables: a
checkpoint does not tell how its run was trained.
"""

import inspect
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from extras.errors import RunError


class Steps(NamedTuple):
    """What a session runs to take several training steps at once."""

    x: Any  # placeholders for the images of all these steps
    y: Any
    optimizer: Any  # the operation that takes the steps
    loss: Any  # the mean of their losses


def compile_steps(vae, draw_epsilon, batch_size, n_batches):
    """The training steps of vae as Steps, and the number of images that those are fed.

    n_batches: the steps of an epoch, which is a multiple of those of one call. draw_epsilon: as in
    the graph, a function from a tensor to noise in its shape. Raises RunError if TensorFlow cannot
    compile these steps as one function.
    """
    if "jit_compile" not in inspect.signature(tf.function).parameters:
        raise RunError(f"--xla: needs TensorFlow 2.5 or newer, this is {tf.__version__}")
    # As many as divide an epoch, with 5,500 images at most, or one step: more gain nothing, and
    # Ctrl-C waits.
    most = min(55, max(1, 5500 // batch_size))
    k = max(n for n in range(1, most + 1) if n_batches % n == 0)
    n_images = k * batch_size
    x = tf.placeholder(tf.float32, [n_images, vae.x.shape[1]])
    y = tf.placeholder(tf.float32, [n_images, vae.y.shape[1]])
    # Drawn before XLA's part, whose own random numbers take longer than a layer.
    epsilon = draw_epsilon(tf.zeros([n_images, vae.z.shape[1]]))

    def mean_loss(*rows):
        batches = [tf.reshape(tensor, [k, batch_size, -1]) for tensor in rows]

        def step(i, total):
            batch = [tensor[i] for tensor in batches]
            loss = clone_step(vae, dict(zip([vae.x, vae.y, vae.epsilon], batch)))
            return i + 1, total + tf.cast(loss, tf.float64)

        first = [0, tf.constant(0, tf.float64)]
        return tf.while_loop(lambda i, total: i < k, step, first)[1] / k

    loss = tf.function(mean_loss, autograph=False, jit_compile=True)(x, y, epsilon)
    if "PartitionedCall" not in loss.op.type or not tf.resource_variables_enabled():
        raise RunError(
            "--xla: cannot compile the steps as one function: leave it out, or what switches that "
            "off, tf.disable_v2_behavior() or tf.config.run_functions_eagerly(True)"
        )
    return Steps(x, y, loss.op, loss), n_images


def clone_step(vae, batch):
    """Add a copy of vae.optimizer to the default graph, a function's, and of all that leads to it.

    In the copy, each tensor that is a key of batch is replaced by its value; variables stay the
    same. Returns the copy of vae.loss, as it is before the step. Raises RunError if the step needs
    another placeholder.
    """
    function = tf.get_default_graph()
    inside = {old.name: new for old, new in batch.items()}
    replaced = {}  # what of that, and which variables, the step really uses
    nodes = tf.GraphDef()
    found = set()
    todo = [vae.optimizer, vae.loss.op]
    while todo:
        op = todo.pop()
        if op in found:
            continue
        found.add(op)
        if op.type.startswith("Placeholder"):
            # Its value is fed to the plain graph's session call, of which nothing comes here.
            raise RunError(f"--xla: cannot feed the placeholder {op.name}: leave it out")
        node = nodes.node.add()
        node.CopyFrom(op.node_def)
        node.attr.pop("_class", None)  # names an operation to be beside, which may be left out
        todo += op.control_inputs
        for tensor in op.inputs:
            if tensor.name in inside:
                replaced[tensor.name] = inside[tensor.name]
            elif tensor.dtype == tf.resource:
                replaced[tensor.name] = function.capture(tensor)
            else:
                todo.append(tensor.op)
    step, loss = tf.import_graph_def(nodes, replaced, [vae.optimizer.name, vae.loss.name], name="")
    loss.set_shape([])  # which an operation of one's own may not know
    with tf.control_dependencies([step]):
        return tf.identity(loss)
