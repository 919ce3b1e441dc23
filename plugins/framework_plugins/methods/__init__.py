"""What is learned from rows, and by which loss: `method=sft`, `loss=cross_entropy`."""
