"""Several training steps as one call, compiled by XLA.

A session starts each of the 300 operations of a step by itself. XLA, TensorFlow's compiler, joins
them into a few loops over the numbers, and goes from step to step without coming back to Python.

There is no second model here: what is compiled are the operations of the plain graph, with its
gradients and its Adam, on its variables. So a checkpoint does not tell how its run was trained.
"""

import inspect

import numpy as np
import tensorflow.compat.v1 as tf

from harness.finite import check_finite


# The most steps, and the most images, in a call: more gain nothing, and Ctrl-C waits for its end.
MAX_STEPS = 55
MAX_IMAGES = 5500


class CompilerError(Exception):
    """This TensorFlow cannot compile the training; the text says what is needed."""


def compiled_session(graph, args, n_batches, first_epoch, log=None):
    """What opens a CompiledSession to train graph, with n_batches to the epoch, as args say.

    log: an EventLog, that is to note the losses of each step. Raises CompilerError if this
    TensorFlow cannot compile a function.
    """
    if "jit_compile" not in inspect.signature(tf.function).parameters:
        raise CompilerError(f"--xla: needs TensorFlow 2.5 or newer, this is {tf.__version__}")
    steps = CompiledSteps(graph, args.batch_size, n_batches, args.denoise or args.mixed_noise)
    first_step = first_epoch * n_batches
    return lambda: CompiledSession(graph, steps, n_batches, first_step, log and log.note)


class CompiledSteps:
    """Training steps of graph, for batches of batch_size images, that run as one call.

    Make it after the graph; no session is needed yet. Up to size steps, at most n_batches, go into
    a call. noisy: whether x differs from y.
    """

    def __init__(self, graph, batch_size, n_batches, noisy):
        self.size = group_size(batch_size, n_batches)
        shape = [self.size, batch_size]
        self.y = tf.placeholder(tf.float32, [*shape, int(graph.y.shape[1])])
        self.x = tf.placeholder(tf.float32, [*shape, int(graph.x.shape[1])]) if noisy else self.y
        # Drawn before XLA's part, whose own random numbers take longer than a layer. Can be fed.
        self.epsilon = tf.random_normal([*shape, int(graph.z.shape[1])])
        self.n_steps = tf.placeholder(tf.int32, [])
        inputs = [graph.x, graph.y, graph.epsilon]
        means = [tf.reduce_mean(loss) for loss in (graph.loss, graph.rec_loss, graph.reg_loss)]

        def steps(n_steps, x, y, epsilon):
            def step(i, losses):
                batch = [values[i] for values in (x, y, epsilon)]
                return i + 1, losses.write(i, replay(graph.optimizer, means, inputs, batch))

            losses = tf.TensorArray(tf.float32, self.size, element_shape=[len(means)])
            return tf.while_loop(lambda i, _: i < n_steps, step, [0, losses])[1].stack()

        compiled = tf.function(steps, autograph=False, jit_compile=True)
        self.losses = compiled(self.n_steps, self.x, self.y, self.epsilon)

    def run(self, tfs, X, Y, epsilon=None):
        """Take a step for each batch of Y, (n, batch_size, n_outputs), n from 1 to size.

        Returns their losses, (n, 3): loss, and the means of rec_loss and reg_loss, in nats per
        image. They are those before the step, as in the plain graph. Where x is y, X is not
        looked at.
        """
        feed_dict = {self.n_steps: len(Y), self.x: self._filled(X), self.y: self._filled(Y)}
        if epsilon is not None:
            feed_dict[self.epsilon] = self._filled(epsilon)
        return tfs.run(self.losses, feed_dict=feed_dict)[: len(Y)]

    def _filled(self, values):
        """values with zeros after them up to size: what is compiled has one shape only."""
        missing = np.zeros((self.size - len(values), *np.shape(values)[1:]), np.float32)
        return np.concatenate([values, missing]) if len(missing) else np.asarray(values)


def group_size(batch_size, n_batches):
    """The number of steps in a call, so that an epoch's calls are about equally long."""
    most = max(1, min(MAX_STEPS, MAX_IMAGES // batch_size))
    n_calls = -(-n_batches // most)
    return -(-n_batches // n_calls)


def replay(operation, fetches, inputs, values):
    """Add a copy of operation to the default graph, a function's, and of all that leads to it.

    In the copy each tensor of inputs is replaced by its one of values; variables stay the same.
    Returns the copies of the tensors fetches, stacked, as they are before operation's updates.
    """
    function = tf.get_default_graph()
    replaced = {old.name: new for old, new in zip(inputs, values)}
    nodes, found = tf.GraphDef(), set()
    todo = [operation] + [tensor.op for tensor in fetches]
    while todo:
        op = todo.pop()
        if op in found:
            continue
        found.add(op)
        node = nodes.node.add()
        node.CopyFrom(op.node_def)
        node.attr.pop("_class", None)  # names an operation to be beside, which may be left out
        todo += op.control_inputs
        for tensor in op.inputs:
            if tensor.dtype == tf.resource:
                replaced[tensor.name] = function.capture(tensor)
            elif tensor.name not in replaced:
                todo.append(tensor.op)
    names = [operation.name] + [tensor.name for tensor in fetches]
    copies = tf.import_graph_def(nodes, replaced, names, name="")
    with tf.control_dependencies([copies[0]]):
        return tf.stack([tf.identity(tensor) for tensor in copies[1:]])


class CompiledSession(tf.Session):
    """A session that gathers the training steps it is to run, and runs several in one call.

    A step that is only gathered has the loss 0, and the last of a call the sum of them all: the
    losses of an epoch add up to the same. Everything else runs as in any session.

    steps: CompiledSteps of graph. first_step: the number of steps that were taken before, with
    n_batches to the epoch. note: None, or a function that is told of each step's losses.
    """

    def __init__(self, graph, steps, n_batches, first_step, note=None):
        super().__init__()
        self._graph_parts = graph
        self._steps = steps
        self._n_batches = n_batches
        self._n_taken = first_step
        self._gathered = []
        self._note = note

    def run(self, fetches, feed_dict=None, **how):
        parts = self._graph_parts
        if not isinstance(fetches, list) or fetches[0] is not parts.optimizer:
            return super().run(fetches, feed_dict=feed_dict, **how)
        self._gathered.append((feed_dict[parts.x], feed_dict[parts.y]))
        n_gathered = len(self._gathered)
        at_end = (self._n_taken + n_gathered) % self._n_batches == 0
        if n_gathered < self._steps.size and not at_end:
            return None, 0.0
        X, Y = (np.stack(arrays) for arrays in zip(*self._gathered))
        self._gathered.clear()
        losses = self._steps.run(self, X, Y)
        for loss, rec_loss, reg_loss in losses:
            epoch, batch = divmod(self._n_taken, self._n_batches)
            check_finite(loss, f"epoch {epoch}, batch {batch}")
            self._n_taken += 1
            if self._note is not None:
                self._note(loss, rec_loss, reg_loss, self._n_taken)
        return None, losses[:, 0].sum(dtype=np.float64)
