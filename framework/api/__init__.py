"""What a plugin may import.

Nothing in it imports a room above it.
"""
