"""One hypothesis profile for all property tests: 50 examples, no deadline (shared machines stall)."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "course", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("course")
