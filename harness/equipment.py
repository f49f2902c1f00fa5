"""What a run has beside the chapter, as its flags say."""

import tensorflow.compat.v1 as tf

from harness.checkpoints import Checkpoints
from harness.compiled import compiled_session
from harness.event_log import EventLog
from harness.unfolding import Unfolding


def equip(args, graph, data_set, images, losses, first_epoch):
    """The graph to train, what opens the session to train it in, and hooks, None if not asked for.

    data_set: the training set. images: (n, 784), for the log. losses: as Checkpoints wants them.
    """
    session, log, checkpoints, unfolding = tf.Session, None, None, None
    if args.log_dir:
        log = EventLog(args.log_dir, graph, images)
    if args.checkpoint_dir:
        checkpoints = Checkpoints(args, data_set, losses)
    if args.manifold_gif:
        unfolding = Unfolding(graph, first_epoch, f"{args.figures_dir}/manifold.gif")
    if args.xla:
        n_batches = data_set.num_examples // args.batch_size
        session = compiled_session(graph, args, n_batches, first_epoch, log)
    elif log is not None:
        graph = log.noted(graph)
    # Checkpoints first: they may refuse to begin, and an epoch that is done is to be saved before
    # anything else can fail.
    return graph, session, [checkpoints, log, unfolding]
