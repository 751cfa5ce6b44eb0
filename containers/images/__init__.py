"""Images: where they come from, the store that keeps them, and what a container is made of them.

Nothing here is imported where a sandbox runs without an image.
"""
