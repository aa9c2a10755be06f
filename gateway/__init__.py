"""The shell: HTTP, keys, sockets, clocks, processes."""
