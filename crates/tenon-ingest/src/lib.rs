//! Sources, and their exactly-once delivery into the lake.
