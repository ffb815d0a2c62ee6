"""What PyTorch's allocator for CPUs hands out during a call."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def counted(call: Callable[[], object]) -> int:
    """The most bytes that live at once in PyTorch's allocator for CPUs, beyond what lived before: every allocation, added up."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    assert peak > 0
    return peak
