"""The network: backbone, neck, heads, and their assembly (needs torch)."""
