"""What happens when memory runs out: the pass is given up, something is made smaller, and the work is done again."""
