"""MQTT: devices that publish to a broker (spec 03 section 5)."""
