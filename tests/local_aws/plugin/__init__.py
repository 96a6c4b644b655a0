"""What MiniStack lacks for this stack: EMR that runs steps, its integrations, permissions of roles, faults."""
