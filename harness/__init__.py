"""What keeps a run of vae_mnist.py safe, resumable and told. One module, one concern:

quiet        what is set before the large packages are imported
flags        the command line
failures     each failure to its one line and exit status
interrupts   Ctrl-C, looked at between two steps
hooks        how the other modules are told of a run's steps and epochs
progress     the moving line on a terminal
checkpoints  saving a run, and going on from what was saved
event_log    the log for TensorBoard
finite       losses and results that are no finite numbers
compiled     several training steps as one call, compiled by XLA
unfolding    the animation of a latent space
equipment    which of these a run has
"""
