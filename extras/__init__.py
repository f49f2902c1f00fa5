"""What the book does not have. One module, one concern:

flags        the command line
errors       what goes wrong to one line and an exit status
progress     the moving line on a terminal; Ctrl-C between two steps
evaluation   how good a model is on a set of images
pictures     samples, and what the latent space holds, as pictures
checkpoints  saving a run, and going on from what was saved
event_log    the log for TensorBoard
compiled     several training steps as one, compiled by XLA
"""
