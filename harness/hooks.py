"""How other modules are told of a run: TensorFlow 1's word for it is SessionRunHook."""


class Hook:
    """Is told of what happens in a run, in this order. Does nothing unless a subclass does."""

    def begin(self, tfs):
        """The session tfs is open, and each variable has its first value."""

    def after_step(self, epoch, batch, loss):
        """A training step is done, the batch-th of the epoch; both count from 0.

        loss: what it was before the step, in nats per image. Of a CompiledSession it is 0, or the
        sum of several steps' losses.
        """

    def after_epoch(self, tfs, average_loss):
        """An epoch is done; average_loss is the mean of its steps' losses."""

    def after_training(self, tfs):
        """All epochs are done."""

    def end(self, tfs):
        """The chapter's pictures are drawn; the session is about to be closed."""


class Hooks(Hook):
    """Several hooks as one: each is told in turn. None stands for one that was not asked for."""

    def __init__(self, *hooks):
        self._hooks = [hook for hook in hooks if hook is not None]

    def begin(self, tfs):
        for hook in self._hooks:
            hook.begin(tfs)

    def after_step(self, epoch, batch, loss):
        for hook in self._hooks:
            hook.after_step(epoch, batch, loss)

    def after_epoch(self, tfs, average_loss):
        for hook in self._hooks:
            hook.after_epoch(tfs, average_loss)

    def after_training(self, tfs):
        for hook in self._hooks:
            hook.after_training(tfs)

    def end(self, tfs):
        for hook in self._hooks:
            hook.end(tfs)
