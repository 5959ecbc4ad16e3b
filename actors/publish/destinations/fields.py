"""What several destination types have in their `config_json`."""

ROOT = "config_json"
