"""What to run: root file systems, and the life of a sandbox around the supervisor."""
