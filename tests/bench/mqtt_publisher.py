"""Devices that publish small JSON at QoS 0 to a broker, at a steady rate: `port topics rate seconds`. Prints
how many messages it has sent when the time is over."""

import sys
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `servers` is

from servers.mqtt_device import MqttDevice

TICK_S = 0.01


def main(port: int, topics: int, rate: int, seconds: float) -> int:
    sent = 0
    with MqttDevice(port, client_id="publisher") as device:
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            due = int(now * rate) - sent
            device.pour(
                [
                    (
                        f"plant/press-{number % topics}",
                        b'{"temperature":%.2f,"level":%d}' % (20 + number % 70 / 9, number),
                    )
                    for number in range(sent, sent + due)
                ]
            )
            sent += due
            time.sleep(TICK_S)
        device.publish("elsewhere", b"", qos=1)
    return sent


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])), flush=True)
