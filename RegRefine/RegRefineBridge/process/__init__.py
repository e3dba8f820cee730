"""The child process behind the panel: its client, its transports, the packages it needs."""
