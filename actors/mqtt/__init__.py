"""MQTT itself: connections to brokers, whoever has them."""
