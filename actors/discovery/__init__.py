"""Looking for devices: scans, and the rules that have them run."""
