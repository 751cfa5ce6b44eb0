"""The processes of a sandbox: who they are, whose rights they have, and what exec would make of a file."""
