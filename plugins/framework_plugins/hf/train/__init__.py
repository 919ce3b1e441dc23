"""One training: the trainer, validations, the best weights; checkpoints and several processes in its folders."""
