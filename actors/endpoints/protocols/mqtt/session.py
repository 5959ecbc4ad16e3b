"""placeholder"""

from actors.endpoints.protocol import PushedSession


class MqttSession(PushedSession): ...
