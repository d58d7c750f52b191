"""Schedule templates: expert-written schedules with knobs."""
