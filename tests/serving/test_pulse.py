import threading
import time

from calvaria.serving.pulse import Pulse


def test_the_seconds_of_all_beats_are_those_that_passed():
    beats: list[float] = []
    three = threading.Event()

    def beat(seconds: float) -> None:
        beats.append(seconds)
        time.sleep(0.01)  # a beat that takes its time loses none
        if len(beats) == 3:
            three.set()

    start = time.monotonic()
    pulse = Pulse(beat, every_s=0.02)
    assert three.wait(30)
    pulse.stop()
    assert min(beats) >= 0.02
    assert 0.06 <= sum(beats) <= time.monotonic() - start
    count = len(beats)
    time.sleep(0.05)
    assert len(beats) == count, "it was stopped"
