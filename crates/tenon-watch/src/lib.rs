//! Monitors, triggers, incidents.
