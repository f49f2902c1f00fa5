"""Ctrl-C during a session: noted as it comes, looked at between two steps."""

import signal

from harness.hooks import Hook


class Interrupts(Hook):
    """While a session runs, Ctrl-C waits for the end of the step or epoch, or of all the pictures.

    TensorFlow's binding may crash where Python raises KeyboardInterrupt just as one session call
    returns and the next begins. So the signal is only noted, and raised where no call is near. A
    second Ctrl-C does not wait. Outside a session, Ctrl-C is raised at once, as ever.

    Used in a with statement, which puts back what was done with the signal before.
    """

    def __init__(self):
        self._waits = self._noted = False

    def __enter__(self):
        # Python leaves the signal alone in the background of a shell, and outside its main thread
        # lets nobody set it.
        try:
            self._handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            if self._handled:
                signal.signal(signal.SIGINT, self._note)
        except ValueError:
            self._handled = False
        return self

    def __exit__(self, *error):
        if self._handled:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, *signal_and_frame):
        if not self._waits or self._noted:
            raise KeyboardInterrupt
        self._noted = True

    def _look(self):
        if self._noted:
            raise KeyboardInterrupt

    def begin(self, tfs):
        self._waits = True

    def after_step(self, epoch, batch, loss):
        self._look()

    def after_epoch(self, tfs, average_loss):
        self._look()

    def after_training(self, tfs):
        self._look()

    def end(self, tfs):
        self._waits = False
        self._look()

    def during(self, wait):
        """Do wait(stop), which is to end soon after stop() has become true, by Ctrl-C.

        For windows: an exception would be lost in whatever they are at.
        """
        self.begin(None)
        wait(lambda: self._noted)
        self.end(None)
